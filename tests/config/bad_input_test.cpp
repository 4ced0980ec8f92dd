// Every way in which a file can be wrong: the place it is told at, and the gist of what is told.
#include <gmock/gmock.h>

#include <algorithm>
#include <ostream>

#include "config/support.h"

namespace spillway {
namespace {

struct BadInput {
  std::string_view json;
  std::string_view path;      ///< the problem's JSON path
  std::string_view fragment;  ///< of its text
};
void PrintTo(const BadInput& bad, std::ostream* out) { *out << bad.json; }

class BadInputTest : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputTest, IsOneProblemAtItsPlace) {
  const auto failure = parse_failure(GetParam().json);
  ASSERT_TRUE(failure) << "was accepted";
  EXPECT_EQ(failure->code, Errc::invalid_config);
  ASSERT_EQ(failure->lines.size(), 2U) << failure->text();
  EXPECT_EQ(failure->lines[0], "config: 1 problem");
  const std::string start = "  " + std::string(GetParam().path) + ": ";
  EXPECT_TRUE(failure->lines[1].starts_with(start)) << failure->text();
  EXPECT_THAT(failure->lines[1], testing::HasSubstr(std::string(GetParam().fragment)));
}

constexpr BadInput types[] = {
    {R"({"offload_param": 3})", "offload_param", "must be an object, got 3"},
    {R"({"io": []})", "io", "must be an object, got an array"},
    {R"({"io": "fast"})", "io", "must be an object, got \"fast\""},
    {R"({"offload_param": {"device": 1}})", "offload_param.device",
     R"(must be "none", "cpu" or "nvme", got 1)"},
    {R"({"offload_param": {"device": "gpu"}})", "offload_param.device", "got \"gpu\""},
    {R"({"offload_param": {"device": "NVME"}})", "offload_param.device", "got \"NVME\""},
    {R"({"offload_param": {"device": {}}})", "offload_param.device", "got an object"},
    {R"({"offload_param": {"buffer_count": true}})", "offload_param.buffer_count",
     "must be a whole number, got true"},
    {R"({"offload_param": {"buffer_count": [4]}})", "offload_param.buffer_count", "got an array"},
    {R"({"offload_param": {"buffer_count": "many"}})", "offload_param.buffer_count",
     "got \"many\""},
    {R"({"offload_param": {"buffer_count": ""}})", "offload_param.buffer_count", "got \"\""},
    {R"({"offload_param": {"buffer_count": "4KB"}})", "offload_param.buffer_count",
     "must be a whole number, got \"4KB\""},
    {R"({"offload_param": {"pin_memory": 1}})", "offload_param.pin_memory",
     "must be true or false, got 1"},
    {R"({"offload_param": {"pin_memory": "true"}})", "offload_param.pin_memory",
     "must be true or false, got \"true\""},
    {R"({"offload_param": {"nvme_path": 7}})", "offload_param.nvme_path",
     "must be a path or an array of paths, got 7"},
    {R"({"offload_param": {"nvme_path": ["/a", null]}})", "offload_param.nvme_path[1]",
     "must be a path, got null"},
    {R"({"offload_param": {"nvme_path": ["/a", ["/b"]]}})", "offload_param.nvme_path[1]",
     "got an array"},
    {R"({"offload_optimizer": {"ratio": "half"}})", "offload_optimizer.ratio",
     "must be a number, got \"half\""},
    {R"({"offload_optimizer": {"ratio": true}})", "offload_optimizer.ratio", "must be a number"},
    {R"({"io": {"engine": "libaio"}})", "io.engine",
     R"(must be "auto", "io_uring" or "threads", got "libaio")"},
    {R"({"io": {"direct": "maybe"}})", "io.direct", R"(must be "auto", "on" or "off")"},
    {R"({"io": {"huge_pages": 2}})", "io.huge_pages", "got 2"},
    {R"({"io": {"checksums": "off"}})", "io.checksums", "must be true or false, got \"off\""},
    {R"({"io": {"path_weights": 2}})", "io.path_weights", "must be an array of whole numbers"},
    {R"({"io": {"path_weights": [1, "x"]}})", "io.path_weights[1]", "must be a whole number"},
    {R"({"io": {"timeout": "30s"}})", "io.timeout", "must be a number, got \"30s\""},
};
INSTANTIATE_TEST_SUITE_P(Types, BadInputTest, testing::ValuesIn(types));

constexpr BadInput numbers[] = {
    {R"({"offload_param": {"buffer_count": -1}})", "offload_param.buffer_count",
     "must be at least 0, got -1"},
    {R"({"offload_param": {"buffer_count": "-1"}})", "offload_param.buffer_count",
     "must be at least 0, got -1"},
    {R"({"offload_param": {"buffer_count": 1.5}})", "offload_param.buffer_count",
     "must be a whole number, got 1.5"},
    {R"({"offload_param": {"buffer_count": 1e30}})", "offload_param.buffer_count",
     "must be at most 1000000, got 1e30"},
    {R"({"offload_param": {"buffer_count": -1e30}})", "offload_param.buffer_count",
     "must be at least 0, got -1e30"},
    {R"({"offload_param": {"buffer_count": 1000001}})", "offload_param.buffer_count",
     "must be at most 1000000, got 1000001"},
    {R"({"offload_param": {"buffer_count": 1e-3}})", "offload_param.buffer_count",
     "must be a whole number, got 1e-3"},
    {R"({"offload_param": {"buffer_size": -4096}})", "offload_param.buffer_size",
     "must be at least 0 bytes, got -4096"},
    {R"({"offload_param": {"buffer_size": 0.5}})", "offload_param.buffer_size",
     "must be a whole number or a size such as"},
    {R"({"offload_param": {"buffer_size": "0.3KiB"}})", "offload_param.buffer_size",
     "got \"0.3KiB\""},
    {R"({"offload_param": {"buffer_size": "1QB"}})", "offload_param.buffer_size", "got \"1QB\""},
    {R"({"offload_param": {"buffer_size": "nan"}})", "offload_param.buffer_size", "got \"nan\""},
    {R"({"offload_param": {"buffer_size": "0x1000"}})", "offload_param.buffer_size",
     "got \"0x1000\""},
    {R"({"offload_param": {"buffer_size": 9223372036854775807}})", "offload_param.buffer_size",
     "must be at most 1152921504606846976 bytes, got 9223372036854775807"},
    {R"({"offload_param": {"buffer_size": 9223372036854775808}})", "offload_param.buffer_size",
     "must be at most 1152921504606846976, got 9223372036854775808"},
    {R"({"offload_param": {"buffer_size": 18446744073709551616}})", "offload_param.buffer_size",
     "got 18446744073709551616"},
    {R"({"offload_param": {"buffer_count": 1000000, "buffer_size": "1000000 TB"}})",
     "offload_param.buffer_size", "1000000 x 1000000000000000000 bytes"},
    {R"({"offload_param": {"max_in_cpu": -5}})", "offload_param.max_in_cpu",
     "must be at least 0 elements, got -5"},
    {R"({"offload_param": {"max_in_cpu": 0.1}})", "offload_param.max_in_cpu",
     "must be a whole number of elements"},
    {R"({"offload_param": {"max_in_cpu": "100GB"}})", "offload_param.max_in_cpu",
     "counts elements, not bytes"},
    {R"({"offload_optimizer": {"buffer_size": 0}})", "offload_optimizer.buffer_size",
     "must be at least 4096 bytes, got 0"},
    {R"({"offload_optimizer": {"ratio": 1.5}})", "offload_optimizer.ratio",
     "must be between 0 and 1, got 1.5"},
    {R"({"offload_optimizer": {"ratio": -0.1}})", "offload_optimizer.ratio", "got -0.1"},
    {R"({"offload_optimizer": {"ratio": 1.0000000000000002}})", "offload_optimizer.ratio",
     "got 1.0000000000000002"},
    {R"({"offload_optimizer": {"ratio": "NaN"}})", "offload_optimizer.ratio", "must be a number"},
    {R"({"io": {"block_size": 4095}})", "io.block_size", "must be at least 4096 bytes, got 4095"},
    {R"({"io": {"block_size": 4097}})", "io.block_size",
     "must be a multiple of 4096 bytes, got 4097"},
    {R"({"io": {"block_size": "1MB"}})", "io.block_size", "must be a multiple of 4096 bytes"},
    {R"({"io": {"block_size": "2GiB"}})", "io.block_size",
     "must be at most 1073741824 bytes, got 2147483648"},
    {R"({"io": {"stripe_unit": 100000}})", "io.stripe_unit", "must be a multiple of 4096"},
    {R"({"io": {"stripe_unit": 0}})", "io.stripe_unit", "must be at least 4096"},
    {R"({"io": {"queue_depth": 0}})", "io.queue_depth", "must be at least 1, got 0"},
    {R"({"io": {"queue_depth": 32769}})", "io.queue_depth", "must be at most 32768"},
    {R"({"io": {"threads": 1025}})", "io.threads", "must be at most 1024"},
    {R"({"io": {"threads": -1}})", "io.threads", "must be at least 0"},
    {R"({"io": {"numa_node": -2}})", "io.numa_node", "must be at least -1, got -2"},
    {R"({"io": {"numa_node": 4294967296}})", "io.numa_node",
     "must be at most 1023, got 4294967296"},
    {R"({"io": {"path_weights": [3, 0]}})", "io.path_weights[1]", "must be at least 1, got 0"},
    {R"({"io": {"timeout": 0}})", "io.timeout", "must be between 0.001 and"},
    {R"({"io": {"timeout": -1}})", "io.timeout", "got -1"},
    {R"({"io": {"shutdown_timeout": 1e300}})", "io.shutdown_timeout", "got 1e+300"},
    {R"({"io": {"read_budget": 100}})", "io.read_budget", "must be at least 4096 bytes, got 100"},
};
INSTANTIATE_TEST_SUITE_P(Numbers, BadInputTest, testing::ValuesIn(numbers));

constexpr BadInput keys[] = {
    {R"({"offload_params": {}})", "offload_params", "did you mean offload_param?"},
    {R"({"offload-optimizer": {}})", "offload-optimizer", "did you mean offload_optimizer?"},
    {R"({"zero_optimisation": {}})", "zero_optimisation", "did you mean zero_optimization?"},
    {R"({"banana": 1})", "banana",
     "known here: offload_param, offload_optimizer, io and zero_optimization"},
    {R"({"": 1})", R"("")", "unknown key"},
    {R"({"a b\nc": 1})", R"("a b\x0ac")", "unknown key"},
    {R"({"aio": {"block_size": 4096}})", "aio", "is DeepSpeed's name"},
    {R"({"train_batch_size": 8, "fp16": {}})", "train_batch_size",
     "recognised by its zero_optimization object"},
    {R"({"buffer_count": 4})", "buffer_count",
     "is a setting of offload_param or offload_optimizer, move it there"},
    {R"({"queue_depth": 4})", "queue_depth", "is a setting of io, move it there"},
    {R"({"offload_param": {"bufer_count": 3}})", "offload_param.bufer_count",
     "did you mean buffer_count?"},
    {R"({"offload_param": {"Pin-Memory": true}})", "offload_param.Pin-Memory",
     "did you mean pin_memory?"},
    {R"({"offload_param": {"device": "nvme", "nmve_path": "/x"}})", "offload_param.nmve_path",
     "did you mean nvme_path?"},
    {R"({"offload_param": {"pipeline_read": true}})", "offload_param.pipeline_read",
     "is a setting of offload_optimizer, move it there"},
    {R"({"offload_optimizer": {"max_in_cpu": 0}})", "offload_optimizer.max_in_cpu",
     "is a setting of offload_param, move it there"},
    {R"({"offload_optimizer": {"block_size": 4096}})", "offload_optimizer.block_size",
     "is a setting of io, move it there"},
    {R"({"io": {"nvme_path": "/x"}})", "io.nvme_path",
     "is a setting of offload_param or offload_optimizer"},
    {R"({"io": {"queue_dept": 1}})", "io.queue_dept", "did you mean queue_depth?"},
    {R"({"offload_param": {"device": "cpu", "device": "nvme"}})", "offload_param.device",
     "is given more than once"},
    {R"({"io": {}, "io": {}})", "io", "is given more than once"},
    {R"({"offload_optimizer": {"pipeline": true}})", "offload_optimizer.pipeline",
     "is true, but follows from pipeline_read (false) and pipeline_write (false)"},
    {R"({"offload_optimizer": {"pipeline": false, "pipeline_read": true}})",
     "offload_optimizer.pipeline", "is false, but follows from"},
    {R"({"offload_optimizer": {"pipeline": "yes"}})", "offload_optimizer.pipeline",
     "must be true or false, got \"yes\""},
};
INSTANTIATE_TEST_SUITE_P(Keys, BadInputTest, testing::ValuesIn(keys));

constexpr BadInput rules[] = {
    {R"({"offload_param": {"device": "nvme"}})", "offload_param.nvme_path",
     "device \"nvme\" needs at least one directory"},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": null}})",
     "offload_optimizer.nvme_path", "needs at least one directory"},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": []}})", "offload_optimizer.nvme_path",
     "needs at least one directory"},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": ""}})", "offload_optimizer.nvme_path",
     "is empty"},
    {R"({"offload_optimizer": {"nvme_path": ["/a", ""]}})", "offload_optimizer.nvme_path[1]",
     "is empty"},
    {R"({"offload_optimizer": {"nvme_path": "/a\u0000b"}})", "offload_optimizer.nvme_path", "NUL"},
    {R"({"offload_param": {"device": "nvme", "nvme_path": "/a", "buffer_count": 0}})",
     "offload_param.buffer_count", "must be at least 1 with device \"nvme\", got 0"},
    {R"({"offload_param": {"device": "nvme", "nvme_path": "/a", "buffer_size": 0}})",
     "offload_param.buffer_size", "must be at least 4096 bytes with device \"nvme\", got 0"},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": "/a", "buffer_count": 0}})",
     "offload_optimizer.buffer_count", "must be at least 1 with device \"nvme\""},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": "/a", "buffer_count": 1,
         "pipeline_read": true}})",
     "offload_optimizer.buffer_count", "must be at least 2 with pipeline_read, got 1"},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": "/a", "buffer_count": 1,
         "pipeline_write": true}})",
     "offload_optimizer.buffer_count", "must be at least 2 with pipeline_write, got 1"},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": "/a", "buffer_count": 2,
         "pipeline_read": true, "pipeline_write": true}})",
     "offload_optimizer.buffer_count", "must be at least 3 with pipeline_read and pipeline_write"},
    {R"({"offload_param": {"nvme_path": ["/a", "/b", "/a"]}})", "offload_param.nvme_path[2]",
     "\"/a\" names the same directory as [0]"},
    {R"({"offload_param": {"nvme_path": ["/a/b", "/a/./c/../b/"]}})", "offload_param.nvme_path[1]",
     "names the same directory as [0]"},
    {R"({"offload_param": {"nvme_path": ["x", "./x//"]}})", "offload_param.nvme_path[1]",
     "names the same directory as [0]"},
    {R"({"offload_param": {"nvme_path": ["/", "//"]}})", "offload_param.nvme_path[1]",
     "names the same directory as [0]"},
    {R"({"offload_param": {"device": "nvme", "nvme_path": ["/a", "/b"]},
         "io": {"path_weights": [1, 2, 3]}})",
     "io.path_weights", "holds 3 weights for the 2 paths of offload_param.nvme_path"},
    {R"({"offload_optimizer": {"device": "nvme", "nvme_path": "/a"}, "io": {"path_weights": [1, 2]}})",
     "io.path_weights", "holds 2 weights for the 1 paths of offload_optimizer.nvme_path"},
    {R"({"io": {"block_size": "4MiB", "write_budget": "2MiB"}})", "io.write_budget",
     "must be at least io.block_size (4194304 bytes), got 2097152"},
};
INSTANTIATE_TEST_SUITE_P(Rules, BadInputTest, testing::ValuesIn(rules));

constexpr BadInput deepspeed[] = {
    {R"({"zero_optimization": 3})", "zero_optimization", "must be an object, got 3"},
    {R"({"zero_optimization": {"offload_optimizer": {"ratio": 1.5}}})",
     "zero_optimization.offload_optimizer.ratio", "must be between 0 and 1, got 1.5"},
    {R"({"zero_optimization": {"offload_param": "cpu"}})", "zero_optimization.offload_param",
     "must be an object, got \"cpu\""},
    {R"({"zero_optimization": {"offload_params": {}}})", "zero_optimization.offload_params",
     "did you mean zero_optimization.offload_param?"},
    {R"({"zero_optimization": {"offload_optimiser": {}}})", "zero_optimization.offload_optimiser",
     "did you mean zero_optimization.offload_optimizer?"},
    {R"({"zero_optimization": {"aio": {}}})", "zero_optimization.aio",
     "aio is a section at the top of the file"},
    {R"({"zero_optimization": {"pin_memory": true}})", "zero_optimization.pin_memory",
     "is a setting of zero_optimization.offload_param or zero_optimization.offload_optimizer"},
    {R"({"zero_optimization": {"offload_param": {"pipeline_read": true}}})",
     "zero_optimization.offload_param.pipeline_read",
     "is a setting of zero_optimization.offload_optimizer, move it there"},
    {R"({"zero_optimization": {"offload_param": {"queue_depth": 8}}})",
     "zero_optimization.offload_param.queue_depth", "is a setting of aio, move it there"},
    {R"({"zero_optimization": {"offload_param": {"threads": 8}}})",
     "zero_optimization.offload_param.threads", "aio (there called intra_op_parallelism)"},
    {R"({"zero_optimization": {"offload_param": {"engine": "threads"}}})",
     "zero_optimization.offload_param.engine", "is a setting of io, move it there"},
    {R"({"zero_optimization": {"offload_param": {}, "offload_param": {}}})",
     "zero_optimization.offload_param", "is given more than once"},
    {R"({"zero_optimization": {"offload_param": {"super_offload": true}}})",
     "zero_optimization.offload_param.super_offload", "unknown key"},
    {R"({"zero_optimization": {"offload_param": {"buffer_size": 1e18}}})",
     "zero_optimization.offload_param.buffer_size", "must be at most 1152921504606846976 bytes"},
    {R"({"zero_optimization": {"offload_param": {"buffer_size": 9e18}}})",
     "zero_optimization.offload_param.buffer_size",
     "9000000000000000000 elements of 2 bytes are more than 64 bits can count"},
    {R"({"zero_optimization": {"offload_param": {"device": "nvme"}}})",
     "zero_optimization.offload_param.nvme_path", "needs at least one directory"},
    {R"({"zero_optimization": {}, "offload_param": {}})", "offload_param",
     "move it into zero_optimization"},
    {R"({"zero_optimization": {}, "offload_optimzer": {}})", "offload_optimzer",
     "did you mean zero_optimization.offload_optimizer?"},
    {R"({"zero_optimization": {}, "aoi": {}})", "aoi", "did you mean aio?"},
    {R"({"zero_optimization": {}, "aio": true})", "aio", "must be an object, got true"},
    {R"({"zero_optimization": {}, "aio": {"block_size": 5000}})", "aio.block_size",
     "must be a multiple of 4096 bytes, got 5000"},
    {R"({"zero_optimization": {}, "aio": {"queue_depth": 1.5}})", "aio.queue_depth",
     "must be a whole number, got 1.5"},
    {R"({"zero_optimization": {}, "aio": {"thread_count": -1}})", "aio.thread_count",
     "must be at least 0, got -1"},
    {R"({"zero_optimization": {}, "aio": {"threads": 2}})", "aio.threads",
     "its name here is intra_op_parallelism"},
    {R"({"zero_optimization": {}, "aio": {"blocksize": 4096}})", "aio.blocksize",
     "did you mean block_size?"},
    {R"({"zero_optimization": {}, "aio": {"stripe_unit": 4096}})", "aio.stripe_unit",
     "is a setting of io, move it there"},
    {R"({"zero_optimization": {}, "aio": {"buffer_count": 4}})", "aio.buffer_count",
     "is a setting of zero_optimization.offload_param or zero_optimization.offload_optimizer"},
    {R"({"zero_optimization": {}, "aio": {"block_size": 4096}, "io": {"block_size": 8192}})",
     "io.block_size", "is also given as aio.block_size"},
    {R"({"zero_optimization": {}, "aio": {"block_size": 8192}, "io": {"read_budget": 4096}})",
     "io.read_budget", "must be at least aio.block_size (8192 bytes), got 4096"},
    {R"({"zero_optimization": {}, "zero_optimization": {}})", "zero_optimization",
     "is given more than once"},
    {R"({"zero_optimization": {}, "io": {"single_sumbit": true}})", "io.single_sumbit",
     "unknown key"},
};
INSTANTIATE_TEST_SUITE_P(DeepSpeed, BadInputTest, testing::ValuesIn(deepspeed));

// A syntax error is one line with its place and, where people often stumble, what to do.
struct BadSyntax {
  std::string_view json;
  std::string_view place, fragment;
};
void PrintTo(const BadSyntax& bad, std::ostream* out) { *out << bad.json; }
class BadSyntaxTest : public testing::TestWithParam<BadSyntax> {};

TEST_P(BadSyntaxTest, NamesLineAndColumn) {
  const auto failure = parse_failure(GetParam().json);
  ASSERT_TRUE(failure) << "was accepted";
  EXPECT_EQ(failure->code, Errc::invalid_config);
  ASSERT_EQ(failure->lines.size(), 1U) << failure->text();
  EXPECT_TRUE(failure->lines[0].starts_with("config: " + std::string(GetParam().place) + ": "))
      << failure->text();
  EXPECT_THAT(failure->lines[0], testing::HasSubstr(std::string(GetParam().fragment)));
}

constexpr BadSyntax syntax[] = {
    {"", "line 1, column 1", "the text is empty"},
    {" \n\t\n", "line 3, column 1", "the text is empty"},
    {"{", "line 1, column 2", "the text ends too early"},
    {"{\"io\": {\n  \"timeout\": 1,\n}}", "line 3, column 1", "remove the comma before it"},
    {"{\n  // disks\n  \"io\": {}}", "line 2, column 3", "JSON has no comments"},
    {"{\"io\": {}} # end", "line 1, column 12", "JSON has no comments"},
    {"{\n'io': {}}", "line 2, column 1", "double quotes"},
    {"{\"io\": {\"timeout\": NaN}}", "line 1, column 20", "neither NaN nor Infinity"},
    {"{\"io\": {\"timeout\": Infinity}}", "line 1, column 20", "neither NaN nor Infinity"},
    {"{\"io\": {\"checksums\": True}}", "line 1, column 22", "small letters"},
    {"{\"io\": {}\n \"offload_param\": {}}", "line 2, column 2", "is a comma missing"},
    {"{\"io\" {}}", "line 1, column 7", "syntax error"},
    {"{\"io\": {}}}", "line 1, column 11", "expected end of input"},
    {"{} {}", "line 1, column 4", "expected end of input"},
    {"{\"io\": {\"timeout\": 01}}", "line 1, column 21", "syntax error"},
    {"{\"io\": {\"timeout\": +1}}", "line 1, column 20", "syntax error"},
    {"{\"io\": {\"timeout\": .5}}", "line 1, column 20", "syntax error"},
    {"{\"io\": {\"timeout\": 1e999}}", "line 1, column 24", "number overflow parsing '1e999'"},
    {"{\"io\": \"a\tb\"}", "line 1, column 10", "control character"},
    {"{\"io\": \"\xff\"}", "line 1, column 9", "ill-formed UTF-8"},
    {"\xff\xfe{\0", "line 1, column 1", "syntax error"},
    {"{\"io\": \"unended", "line 1, column 16", "missing closing quote"},
};
INSTANTIATE_TEST_SUITE_P(Places, BadSyntaxTest, testing::ValuesIn(syntax));

TEST(BadFileTest, RootMustBeAnObject) {
  for (const auto& [json, what] : {std::pair{"[1]", "an array"},
                                   {"3", "3"},
                                   {"null", "null"},
                                   {"\"x\"", "\"x\""},
                                   {"true", "true"}}) {
    const auto failure = parse_failure(json);
    ASSERT_TRUE(failure) << json;
    EXPECT_EQ(failure->lines, std::vector<std::string>{
                                  std::string("config: must hold a JSON object, holds ") + what});
  }
}

TEST(BadFileTest, AllProblemsAreToldAtOnce) {
  const auto failure = parse_failure(R"({
    "zero_optimization": {
      "offload_param": {"device": "nvme", "buffer_count": 1.5, "pipeline_read": true},
      "offload_optimizer": {"ratio": 1.5, "device": "disk", "fast_int": true}
    },
    "aio": {"block_size": 1000, "single_submit": true}
  })");
  ASSERT_TRUE(failure);
  EXPECT_THAT(
      failure->lines,
      testing::UnorderedElementsAre(
          "config: 7 problems", testing::HasSubstr("  zero_optimization.offload_param.nvme_path: "),
          testing::HasSubstr("  zero_optimization.offload_param.buffer_count: "),
          testing::HasSubstr("  zero_optimization.offload_param.pipeline_read: "),
          testing::HasSubstr("  zero_optimization.offload_optimizer.ratio: "),
          testing::HasSubstr("  zero_optimization.offload_optimizer.device: "),
          testing::HasSubstr("  zero_optimization.offload_optimizer.fast_int: "),
          testing::HasSubstr("  aio.block_size: ")));
}

TEST(BadFileTest, AFileOfAnotherKindEndsInABoundedMessage) {
  std::string json = "{\"io\": {";
  for (int i = 0; i < 5000; ++i) json += "\"unknown" + std::to_string(i) + "\": 0, ";
  json += "\"" + std::string(100'000, 'k') + "\": 0}}";
  const auto failure = parse_failure(json);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->lines.size(), 102U);
  EXPECT_EQ(failure->lines.front(), "config: 5001 problems");
  EXPECT_EQ(failure->lines.back(), "  and 4901 more");
}

TEST(BadFileTest, LongValuesAreCutWithoutBreakingACharacter) {
  std::string path;
  for (int i = 0; i < 200; ++i) path += "ü";
  const auto failure = parse_failure("{\"io\": {\"engine\": \"x" + path + "\"}}");
  ASSERT_TRUE(failure);
  ASSERT_EQ(failure->lines.size(), 2U);
  EXPECT_LT(failure->lines[1].size(), 200U);
  EXPECT_THAT(failure->lines[1], testing::EndsWith("ü...\""));
}

TEST(BadFileTest, DeepAndLargeTextsAreRefusedUnharmed) {
  const auto refused = [](const std::string& json, const std::string& fragment) {
    const auto failure = parse_failure(json);
    ASSERT_TRUE(failure) << fragment;
    EXPECT_THAT(failure->text(), testing::HasSubstr(fragment));
  };
  refused(std::string(1'000'000, '['), "nested more than 64 levels deep");
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  refused(objects, "nested more than 64 levels deep");
  std::string many = "[0";
  for (int i = 0; i < 200'000; ++i) many += ",0";
  refused(many + "]", "holds more than 100000 values");
  refused(std::string(17 * 1024 * 1024, ' '), "larger than 16 MiB");
  refused("{\"io\": {\"timeout\": " + std::string(1'000'000, '9') + "}}", "number overflow");
  refused("{\"offload_param\": {\"buffer_count\": \"" + std::string(1'000'000, '9') + "\"}}",
          "must be");
}

}  // namespace
}  // namespace spillway
