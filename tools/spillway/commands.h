#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <optional>

namespace spillway::tool {

/// What the command line asks for; returns the exit status. Set by the subcommand that was named.
using Command = std::function<int()>;

/// Each adds one subcommand to `app`, and sets `chosen` when it is the one.
void add_demo(CLI::App& app, Command& chosen);
/// A group: its subcommands stand in bench/.
void add_bench(CLI::App& app, Command& chosen);
/// Not for people: the processes of a bench's ranks, and of what runs beside them.
void add_bench_processes(CLI::App& app, Command& chosen);
/// Not for people: the process of one rank of `bench step`.
void add_bench_rank(CLI::App& app, Command& chosen);
/// Not for people: the process in which the demo runs in memory.
void add_reference(CLI::App& app, Command& chosen);

}  // namespace spillway::tool
