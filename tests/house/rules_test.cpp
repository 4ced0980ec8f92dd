// Feeds the rules with what they must refuse, and with its honest neighbours.
#include "house/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>

namespace spillway::house {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::vector<SourceFile> files(std::initializer_list<std::pair<const char*, const char*>> texts) {
  std::vector<SourceFile> parsed;
  for (const auto& [path, text] : texts) parsed.push_back(parse_source(path, text));
  return parsed;
}

TEST(SourceFileTest, TellsCodeFromCommentsAndLiterals) {
  const SourceFile file = parse_source("src/io/a.cpp",
                                       "// mmap(\n"
                                       "/* mlock(\n mlock( */ int a = 1'000'000;\n"
                                       "const char* s = \"madvise( \\\" dlopen(\"; char q = '\"';\n"
                                       "auto raw = R\"x(statx(\n\")x\"; call();  // end\n");
  EXPECT_EQ(file.code,
            "\n"
            "\n  int a = 1'000'000;\n"
            "const char* s = \"\"; char q = '';\n"
            "auto raw = R\"\"\n; call();  \n");
}

TEST(SourceFileTest, FindsIncludesWithTheirLines) {
  const SourceFile file = parse_source("src/io/a.cpp",
                                       "#include \"io/a.h\"\n"
                                       "\n"
                                       "#  include <vector>  // why\n"
                                       "// #include \"io/b.h\"\n"
                                       "/* \n#include \"io/c.h\"\n*/\n"
                                       "#include MACRO\n"
                                       "const char* s = \"\\n#include <d>\";\n");
  ASSERT_EQ(file.includes.size(), 2u);
  EXPECT_EQ(file.includes[0].target, "io/a.h");
  EXPECT_TRUE(file.includes[0].quoted);
  EXPECT_EQ(file.includes[1].target, "vector");
  EXPECT_FALSE(file.includes[1].quoted);
  EXPECT_EQ(file.includes[1].line, 3);
}

TEST(UpwardEdgesTest, ARoomSeesItselfThoseAboveItAndPublicHeaders) {
  EXPECT_THAT(upward_edges(files({
                  {"src/store/a.cpp",
                   "#include \"store/a.h\"\n#include \"io/engine.h\"\n#include \"base/check.h\"\n"
                   "#include \"spillway/error.h\"\n#include <spillway/log.h>\n#include <vector>\n"
                   "#include <sys/stat.h>\n"},
                  {"src/config/a.cpp", "#include \"sys/file.h\"\n"},
              })),
              IsEmpty());
}

TEST(UpwardEdgesTest, RefusesAnEdgeDownTheHouse) {
  EXPECT_THAT(upward_edges(files({{"src/io/a.h", "\n#include \"store/slot.h\"\n"}})),
              ElementsAre("src/io/a.h:2: io may not include from store, which lies further down"));
  EXPECT_THAT(upward_edges(files({{"src/sys/a.h", "#include \"config/ds.h\"\n"}})),
              ElementsAre(HasSubstr("sys may not include from config")));
  EXPECT_THAT(upward_edges(files({{"src/base/a.h", "#include <context/context.h>\n"},
                                  {"src/context/context.h", ""}})),
              ElementsAre(HasSubstr("base may not include from context")));
}

TEST(UpwardEdgesTest, RefusesWaysAroundTheRule) {
  EXPECT_THAT(upward_edges(files({{"src/io/a.cpp", "#include \"../store/slot.h\"\n"}})),
              ElementsAre(HasSubstr("names no room")));
  EXPECT_THAT(upward_edges(files({{"src/io/a.cpp", "#include \"slot.h\"\n"}})),
              ElementsAre(HasSubstr("names no room")));
  EXPECT_THAT(upward_edges(files({{"src/attic/a.cpp", "#include \"base/check.h\"\n"}})),
              ElementsAre(HasSubstr("src/attic is no room")));
}

TEST(UpwardEdgesTest, TellsTheSystemsSysFromOurs) {
  // Rooms are compiled with the sight of src/, so there <sys/file.h> would be our own sys/file.h.
  const char* text = "#include <sys/types.h>\n#include <sys/file.h>\n";
  EXPECT_THAT(upward_edges(files({{"src/base/a.cpp", text}, {"src/sys/file.h", ""}})),
              ElementsAre(HasSubstr("base may not include from sys")));
  EXPECT_THAT(upward_edges(files({{"tools/spillway/a.cpp", text}, {"src/sys/file.h", ""}})),
              IsEmpty());
}

TEST(UpwardEdgesTest, PublicHeadersIncludeOnlyOneAnother) {
  EXPECT_THAT(upward_edges(files({{"include/spillway/a.h",
                                   "#include \"spillway/error.h\"\n#include <string>\n"}})),
              IsEmpty());
  EXPECT_THAT(upward_edges(files({{"include/spillway/a.h", "#include \"base/check.h\"\n"}})),
              ElementsAre(StartsWith("include/spillway/a.h:1: a public header")));
}

TEST(UpwardEdgesTest, ToolAndExamplesSeeWhatAUserSees) {
  EXPECT_THAT(upward_edges(files({
                  {"tools/spillway/main.cpp",
                   "#include \"demo.h\"\n#include \"demo/adamw.h\"\n#include <CLI/CLI.hpp>\n"
                   "#include \"spillway/spillway.h\"\n"},
                  {"tools/spillway/demo.h", ""},
                  {"tools/spillway/demo/adamw.h", ""},
                  {"examples/train.cpp", "#include <spillway/spillway.h>\n"},
              })),
              IsEmpty());
  EXPECT_THAT(upward_edges(files({{"tools/spillway/main.cpp", "#include \"swap/tile.h\"\n"}})),
              ElementsAre(HasSubstr("neither a public header")));
  EXPECT_THAT(upward_edges(files(
                  {{"examples/train.cpp", "#include <io/engine.h>\n"}, {"src/io/engine.h", ""}})),
              ElementsAre(HasSubstr("neither a public header")));
}

TEST(SecondDoorsTest, OnlySysNamesKernelAndDrivers) {
  const char* door = "#include <liburing.h>\n#include <sys/mman.h>\nvoid f() { mmap(0); }\n";
  EXPECT_THAT(second_doors(files({{"src/sys/ring.cpp", door}})), IsEmpty());
  EXPECT_THAT(second_doors(files({{"src/io/ring.cpp", door}})),
              ElementsAre("src/io/ring.cpp:1: <liburing.h> belongs to src/sys",
                          "src/io/ring.cpp:2: <sys/mman.h> belongs to src/sys",
                          "src/io/ring.cpp:3: `mmap(` belongs to src/sys"));
}

TEST(SecondDoorsTest, FindsEveryWayIn) {
  for (const char* text :
       {"void f() { ::mlock(p, n); }", "int r = madvise (p, n, 4);", "auto h = dlopen(\"x\", 1);",
        "struct statx facts;", "statx(fd, \"\", 0, 0, &s);", "syscall(425);",
        "long n = SYS_mlock2;", "auto call = &::madvise;", "io_uring_queue_init(8, &r, 0);",
        "#include <dlfcn.h>", "#include <linux/io_uring.h>", "#include <liburing/barrier.h>",
        "#include <cuda.h>", "int n = __NR_io_uring_setup;", "int flag = IORING_SETUP_IOPOLL;"})
    for (const char* path : {"src/memory/a.cpp", "tools/spillway/a.cpp", "include/spillway/a.h"})
      EXPECT_EQ(second_doors(files({{path, text}})).size(), 1u) << path << ": " << text;
}

TEST(SecondDoorsTest, LeavesOtherNamesAlone) {
  EXPECT_THAT(second_doors(files({{"src/io/a.cpp",
                                   "// mmap( in a comment\n"
                                   "log(\"mlock() failed\");\n"
                                   "memory.map(n); memory.lock(p, n); engine = Engine::io_uring;\n"
                                   "auto ring = make_io_uring_engine(8); read_statx_facts();\n"}})),
              IsEmpty());
}

TEST(LeakedLibrariesTest, PublicHeadersNameNoLibrary) {
  EXPECT_THAT(leaked_libraries(files({{"include/spillway/a.h",
                                       "// spdlog::info in a comment\n#include <string>\n"
                                       "enum class Engine { io_uring };\nint cuda_device = -1;\n"},
                                      {"src/base/log.cpp", "#include <fmt/core.h>\n"}})),
              IsEmpty());
  for (const char* text :
       {"#include <fmt/core.h>", "#include <boost/pool/pool.hpp>", "#include <spdlog/spdlog.h>",
        "#include <nlohmann/json.hpp>", "#include <liburing.h>", "#include <cuda_runtime.h>",
        "#include <xxhash.h>", "void f(const nlohmann::json&);", "fmt::string_view text;",
        "namespace boost { class x; }  boost::x y;", "struct io_uring_sqe* entry;",
        "void wait(cudaStream_t);", "CUstream stream;", "XXH128_hash_t hash;"})
    EXPECT_EQ(leaked_libraries(files({{"include/spillway/a.h", text}})).size(), 1u) << text;
}

TEST(SpreadHeadersTest, CountsTranslationUnitsThroughHeaders) {
  const auto json = [](int units) {
    std::vector<SourceFile> tree = files({{"src/config/json.h", "#include <nlohmann/json.hpp>\n"}});
    for (int i = 0; i < units; ++i)
      tree.push_back(
          parse_source("src/config/" + std::to_string(i) + ".cpp", "#include \"config/json.h\"\n"));
    return tree;
  };
  EXPECT_THAT(spread_headers(json(3)), IsEmpty());
  EXPECT_THAT(spread_headers(json(4)),
              ElementsAre(HasSubstr("compiled in 4 translation units, 3 allowed")));
}

TEST(SpreadHeadersTest, OneUnitForTheLoggerAndNoneForTheParser) {
  EXPECT_THAT(spread_headers(files({{"src/base/log.cpp", "#include <spdlog/spdlog.h>\n"},
                                    {"tools/spillway/main.cpp", "#include <CLI/CLI.hpp>\n"}})),
              IsEmpty());
  EXPECT_THAT(spread_headers(files({{"src/base/log.cpp", "#include <spdlog/spdlog.h>\n"},
                                    {"src/io/a.cpp", "#include <spdlog/fmt/fmt.h>\n"}})),
              ElementsAre(HasSubstr("2 translation units, 1 allowed")));
  EXPECT_THAT(spread_headers(files({{"src/config/a.cpp", "#include <CLI/CLI.hpp>\n"}})),
              ElementsAre(HasSubstr("belongs to tools/")));
}

TEST(SpreadHeadersTest, HeadersThatIncludeEachOtherEnd) {
  EXPECT_THAT(spread_headers(files({{"src/io/a.h", "#include \"io/b.h\"\n"},
                                    {"src/io/b.h", "#include \"io/a.h\"\n"},
                                    {"src/io/a.cpp", "#include \"io/a.h\"\n"}})),
              IsEmpty());
}

}  // namespace
}  // namespace spillway::house
