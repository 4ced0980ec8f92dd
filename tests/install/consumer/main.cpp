// A program as a user writes it: nothing but the installed headers and library.
#include <spillway/spillway.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace {

// An error must be caught by its type across the border of a shared library.
bool refuses(std::string_view text) {
  try {
    spillway::parse_config(text);
  } catch (const spillway::Error& error) {
    std::printf("%s: %s\n", std::string(spillway::to_string(error.code())).c_str(), error.what());
    return error.code() == spillway::Errc::invalid_config;
  }
  return false;
}

}  // namespace

int main() {
  int messages = 0;
  spillway::set_log_level(spillway::LogLevel::warning);
  spillway::set_log_sink([&](spillway::LogLevel, std::string_view) { ++messages; });

  const spillway::Config config =
      spillway::parse_config(R"({"offload_optimizer": {"device": "cpu", "ratio": 0.5}})");
  const bool same = spillway::parse_config(spillway::to_json(config)) == config;
  spillway::set_log_sink({});
  return same && config.offload_optimizer.ratio == 0.5 &&
                 refuses(R"({"offload_optimizer": {"ratio": 1.5}})") && messages == 0
             ? 0
             : 1;
}
