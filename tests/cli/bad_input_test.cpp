// What a user can get wrong, and what the machine can fail to give: one message, the right exit
// status, nothing on standard output and nothing left behind.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>
#include <string>
#include <vector>

#include "cli_program.h"

namespace spillway {
namespace {

struct Case {
  std::vector<std::string> arguments;
  std::string message;  // somewhere in standard error
};

void expect_refused(const Case& wrong, int status) {
  std::string line;
  for (const std::string& argument : wrong.arguments) line += argument + " ";
  SCOPED_TRACE(line);
  CliProgram program;
  const CliProgram::End end = program.run(wrong.arguments);
  EXPECT_EQ(end.status, status) << end.err;
  EXPECT_EQ(end.out, "");
  EXPECT_NE(end.err.find(wrong.message), std::string::npos) << end.err;
  EXPECT_TRUE(end.err.starts_with("spillway: ")) << end.err;
  EXPECT_TRUE(program.here().names().empty()) << "something was left behind";
}

TEST(CliBadInputTest, TheCommandLine) {
  const std::vector<Case> cases{
      {{}, "which command"},
      {{"dmeo"}, "dmeo"},
      {{"--bogus"}, "--bogus"},
      {{"demo", "--bogus"}, "--bogus"},
      {{"demo", "extra"}, "extra"},
      {{"demo", "--model"}, "--model"},
      {{"demo", "--model", "gtp2"}, "not one of tiny, gpt2"},
      {{"demo", "--layers", "13"}, "layers 1 to 12"},
      {{"demo", "--layers", "0"}, "layers 1 to 12"},
      {{"demo", "--layers", "x"}, "--layers"},
      {{"demo", "--steps", "0"}, "--steps"},
      {{"demo", "--steps", "1.5"}, "--steps"},
      {{"demo", "--steps", "-1"}, "--steps"},
      {{"demo", "--seed", "x"}, "--seed"},
      {{"demo", "--threads", "-1"}, "--threads"},
      {{"demo", "--device", "gpu"}, "none,cpu,nvme"},
      {{"demo", "--engine", "aio"}, "auto,io_uring,threads"},
      {{"demo", "--ratio", "1.5"}, "ratio"},
      {{"demo", "--ratio", "-0.1"}, "ratio"},
      {{"demo", "--ratio", "nan"}, "ratio"},
      {{"demo", "--ratio", "half"}, "--ratio"},
      {{"demo", "--buffer-count", "1"}, "at least 3"},
      {{"demo", "--buffer-count", "2.5"}, "--buffer-count"},
      {{"demo", "--tile-bytes", "1e30"}, "--tile-bytes"},
      {{"demo", "--tile-bytes", "4X"}, "--tile-bytes"},
      {{"demo", "--model", "tiny", "--tile-bytes", "4096"}, "tile"},
      {{"bench"}, "which bench"},
      {{"bench", "parmas"}, "parmas"},
      {{"bench", "params", "--bogus"}, "--bogus"},
      {{"bench", "params", "--model", "gtp2"}, "not one of tiny, gpt2"},
      {{"bench", "params", "--layers", "13"}, "layers 1 to 12"},
      {{"bench", "params", "--trace", "random"}, "forward-backward,cyclic,moe"},
      {{"bench", "params", "--passes", "0"}, "--passes"},
      {{"bench", "params", "--think-ms", "-1"}, "--think-ms"},
      {{"bench", "params", "--think-ms", "nan"}, "--think-ms"},
      {{"bench", "params", "--cap", "0,x%"}, "--cap"},
      {{"bench", "params", "--cap", "-5%"}, "--cap"},
      {{"bench", "params", "--cap", "-5"}, "--cap"},
      {{"bench", "params", "--cap", "1.5"}, "--cap"},
      {{"bench", "step", "--bogus"}, "--bogus"},
      {{"bench", "step", "--model", "gtp2"}, "not one of tiny, gpt2"},
      {{"bench", "step", "--compute", "sgd"}, "adamw,fill,none"},
      {{"bench", "step", "--repeat", "0"}, "--repeat"},
      {{"bench", "step", "--flags", "both,all"}, "none,read,write,both"},
      {{"bench", "step", "--buffers", "4,2"}, "at least 3"},
      {{"bench", "step", "--buffers", "x"}, "--buffers"},
      {{"bench", "step", "--tile-size", "4X"}, "--tile-size"},
      {{"bench", "step", "--ratio", "0.5,1.5"}, "ratio"},
      {{"bench", "step", "--ratio", "half"}, "--ratio"},
      {{"bench", "step", "--engine", "aio"}, "auto,io_uring,threads"},
      {{"bench", "step", "--checksums", "perhaps"}, "on,off"},
      {{"bench", "step", "--rounds", "0"}, "--rounds"},
      {{"bench", "step", "--ranks", "0"}, "--ranks"},
      {{"bench", "step", "--ranks", "2", "--trace", "t.json"}, "one rank"},
      {{"bench", "step", "--seconds", "-1"}, "--seconds"},
      {{"bench", "step", "--ceiling", "dd"}, "auto,fio,engine,none"},
      {{"bench", "step", "--trace", "absent/trace.json"}, "absent/trace.json"},
  };
  for (const Case& wrong : cases) expect_refused(wrong, 2);
}

TEST(CliBadInputTest, Paths) {
  expect_refused({{"demo", "--nvme-path", "absent"}, "does not exist"}, 2);
  expect_refused({{"demo", "--nvme-path", "/dev/null"}, "not a directory"}, 2);
  expect_refused({{"demo", "--nvme-path", "/tmp", "/tmp/"}, "same directory"}, 2);
  expect_refused({{"demo", "--nvme-path", "/proc"}, "/proc"}, 2);
  expect_refused({{"demo", "--config", "absent.json"}, "there is no such file"}, 2);
  expect_refused({{"bench", "step", "--nvme-path", "absent"}, "does not exist"}, 2);
  expect_refused({{"bench", "step", "--config", "absent.json"}, "there is no such file"}, 2);
  expect_refused({{"demo", "--config", "/tmp"}, "/tmp"}, 2);
  expect_refused({{"bench", "params", "--nvme-path", "absent"}, "does not exist"}, 2);
  expect_refused({{"bench", "params", "--nvme-path", "/dev/null"}, "not a directory"}, 2);
  expect_refused({{"bench", "params", "--config", "absent.json"}, "there is no such file"}, 2);
}

TEST(CliBadInputTest, ConfigFiles) {
  const TempDir folder;
  const std::string file = (folder.path() / "config.json").string();
  const std::vector<std::pair<std::string, std::string>> files{
      {"{bad", "line 1, column 2"},
      {"", "config.json"},
      {"[]", "config.json"},
      {R"({"offload_optimizer": {"ratoi": 1}})", "did you mean ratio"},
      {R"({"offload_optimizer": {"ratio": "x"}})", "offload_optimizer.ratio"},
      {R"({"offload_optimizer": {"device": "nvme"}})", "nvme_path"},
      {R"({"offload_optimizer": {"buffer_count": -1}})", "buffer_count"},
      {R"({"offload_optimizer": {"buffer_count": 2.5}})", "buffer_count"},
      {R"({"offload_optimizer": {"buffer_size": 1e30}})", "buffer_size"},
      {R"({"zero_optimization": {"offload_optimizer": {"device": "nvme",
           "nvme_path": "/nonexistent"}}})",
       "/nonexistent"},
  };
  for (const auto& [text, message] : files) {
    std::ofstream(file) << text;
    // A directory is there for the nvme device where the file names none: not for this message.
    expect_refused({{"demo", "--config", file}, message}, 2);
  }
}

bool one_line(const std::string& text) {
  return !text.empty() && text.find('\n') == text.size() - 1;
}

// The disk gives out when space is reserved; RLIMIT_FSIZE stands for a full one.
TEST(CliWorldTest, NoSpace) {
  CliProgram program;
  program.prepare = [] {
    const rlimit limit{8 << 20, 8 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  };
  const CliProgram::End end = program.run({"demo", "--json"});
  EXPECT_EQ(end.status, 1);
  EXPECT_EQ(end.out, "");
  EXPECT_TRUE(one_line(end.err)) << end.err;
  EXPECT_NE(end.err.find("RLIMIT_FSIZE"), std::string::npos) << end.err;
  EXPECT_TRUE(program.here().names().empty());
}

TEST(CliWorldTest, APlanThatDoesNotFit) {
  CliProgram program;
  const CliProgram::End end =
      program.run({"demo", "--model", "llama-2-70b", "--device", "cpu", "--no-reference"});
  if (end.status == 0) GTEST_SKIP() << "this machine has the 800 GB that were to be too much";
  EXPECT_EQ(end.status, 1);
  EXPECT_EQ(end.out, "");
  EXPECT_TRUE(one_line(end.err)) << end.err;
  EXPECT_NE(end.err.find("the plan needs"), std::string::npos) << end.err;
  EXPECT_TRUE(program.here().names().empty());
}

TEST(CliWorldTest, AResultThatCannotBeWrittenIsAFailure) {
  CliProgram program;
  program.prepare = [] { ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO); };
  const CliProgram::End end = program.run({"demo", "--model", "tiny", "--steps", "1"});
  EXPECT_EQ(end.status, 1);
  EXPECT_NE(end.err.find("standard output"), std::string::npos) << end.err;
  EXPECT_TRUE(program.here().names().empty());
}

TEST(CliTest, VersionAndHelp) {
  CliProgram program;
  const CliProgram::End version = program.run({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.out.rfind("spillway ", 0), 0U) << version.out;
  const CliProgram::End help = program.run({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.out.find("demo"), std::string::npos);
  EXPECT_EQ(help.out.find("reference"), std::string::npos) << "not for people";
  EXPECT_EQ(program.run({"demo", "--help"}).status, 0);
}

}  // namespace
}  // namespace spillway
