// Whatever stands in a file, reading it ends in a config or in one Error: never in a crash, never
// in a config that breaks the rules.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "config/corpus.h"
#include "config/support.h"

#include "spillway/log.h"

namespace spillway {
namespace {

const std::string native = R"({"offload_param": {"device": "nvme", "nvme_path": ["/a", "/b"],
  "buffer_size": "1MiB"}, "offload_optimizer": {"ratio": 0.5, "pipeline_read": true,
  "pipeline": true}, "io": {"path_weights": [1, 2], "timeout": 1e1, "direct": "on"}})";
const std::string deepspeed = R"({"fp16": {}, "zero_optimization": {"offload_param": {"device":
  "nvme", "nvme_path": "/a", "buffer_size": 1e8, "pin_memory": null}, "offload_optimizer": {}},
  "aio": {"block_size": 4096, "thread_count": 1, "use_gds": false}, "io": {"numa_node": 1}})";

void expect_config_or_error(const std::string& text) {
  set_log_level(LogLevel::off);
  try {
    const Config config = parse_config(text);
    set_log_level(LogLevel::warning);
    validate(config);
    RC_ASSERT(!describe(config).empty());
    RC_ASSERT(parse_config(to_json(config)) == config);
  } catch (const Error& error) {
    set_log_level(LogLevel::warning);
    RC_ASSERT(error.code() == Errc::invalid_config);
    RC_ASSERT(std::string_view(error.what()).starts_with("config: "));
  }
}

// Replaces, drops, doubles and inserts pieces of a good file.
RC_GTEST_PROP(MutationTest, DamagedFilesEndInAConfigOrAnError, ()) {
  static const std::vector<std::string> pieces{
      "{",    "}",    "[",  "]",   "\"",  ",",    ":",       "-",  "1e99", "null",
      "true", "auto", "\\", "0.5", "1e8", "\xff", "\\u0000", "io", "\n",   " "};
  std::string text = *rc::gen::elementOf(std::vector<std::string>{native, deepspeed});
  const int edits = *rc::gen::inRange(1, 6);
  for (int i = 0; i < edits; ++i) {
    const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
    const auto length = *rc::gen::inRange<std::size_t>(0, 12);
    switch (*rc::gen::inRange(0, 3)) {
      case 0: text.erase(at, length); break;
      case 1: text.insert(at, text.substr(at, length)); break;
      default: text.insert(at, *rc::gen::elementOf(pieces)); break;
    }
    if (text.empty()) text = "{}";
  }
  expect_config_or_error(text);
}

// The same from every case of the corpus: what is nearly wrong, nearly right, or hostile already.
RC_GTEST_PROP(MutationTest, ThePiecesOfTheCorpusEndInAConfigOrAnError, ()) {
  static const std::vector<std::string_view> all = corpus();
  std::string text(*rc::gen::elementOf(all));
  const std::string_view other = *rc::gen::elementOf(all);
  const auto cut = *rc::gen::inRange<std::size_t>(0, text.size() + 1);
  const auto from = *rc::gen::inRange<std::size_t>(0, other.size() + 1);
  switch (*rc::gen::inRange(0, 3)) {
    case 0: text = text.substr(0, cut) + std::string(other.substr(from)); break;
    case 1: text.resize(cut); break;
    default:
      if (cut < text.size()) text[cut] = static_cast<char>(*rc::gen::inRange(0, 256));
  }
  expect_config_or_error(text);
}

RC_GTEST_PROP(MutationTest, AnyBytesEndInAConfigOrAnError, (const std::string& bytes)) {
  expect_config_or_error(bytes);
  expect_config_or_error("{\"io\": {\"timeout\": " + bytes + "}}");
  expect_config_or_error("{\"offload_param\": {\"nvme_path\": \"" + bytes + "\"}}");
}

}  // namespace
}  // namespace spillway
