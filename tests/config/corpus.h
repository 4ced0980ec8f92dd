#pragma once

#include <ostream>
#include <span>
#include <string_view>
#include <vector>

namespace spillway {

/// A config with one thing wrong in it.
struct BadInput {
  std::string_view json;
  std::string_view path;      ///< the problem's JSON path
  std::string_view fragment;  ///< of its text
};
inline void PrintTo(const BadInput& bad, std::ostream* out) { *out << bad.json; }

/// A text that is no JSON.
struct BadSyntax {
  std::string_view json;
  std::string_view place, fragment;
};
inline void PrintTo(const BadSyntax& bad, std::ostream* out) { *out << bad.json; }

/// What real files hold, odd as it looks, and what loading it says.
struct GoodInput {
  std::string_view json;
  std::string_view line;  ///< of describe(), as it must stand there
  std::string_view note;  ///< a fragment of the only note; empty: there is none
};
inline void PrintTo(const GoodInput& good, std::ostream* out) { *out << good.json; }

std::span<const BadInput> bad_types();
std::span<const BadInput> bad_numbers();
std::span<const BadInput> bad_keys();
std::span<const BadInput> bad_rules();
std::span<const BadInput> bad_deepspeed();
std::span<const BadInput> bad_hostile();
std::span<const BadSyntax> bad_syntax();
std::span<const GoodInput> good_inputs();

/// The texts of all of them.
std::vector<std::string_view> corpus();

}  // namespace spillway
