#include "house/source_file.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <set>
#include <stdexcept>
#include <utility>

namespace spillway::house {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Goes through the text once, telling comments and literals from code; newlines are always kept,
// so that line numbers stay true.
class Stripper {
 public:
  explicit Stripper(std::string_view text) : text_(text) {}

  SourceFile run(std::string path) {
    while (at_ < text_.size()) step();
    file_.path = std::move(path);
    return std::move(file_);
  }

 private:
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  void step() {
    const char c = text_[at_];
    if (starts("//")) {
      skip_to(text_.find('\n', at_));
    } else if (starts("/*")) {
      const std::size_t end = text_.find("*/", at_ + 2);
      skip_to(end == std::string_view::npos ? end : end + 2);
      file_.code += ' ';
    } else if (c == '#' && line_is_blank() && take_include()) {
      // its text is not code: "mman.h" in it is judged as an include
    } else if (c == '"') {
      is_raw() ? skip_raw() : skip_literal('"');
    } else if (c == '\'' && !(at_ > 0 && is_word(text_[at_ - 1]) && in_number())) {
      skip_literal('\'');
    } else {
      file_.code += c;
      ++at_;
      if (c == '\n') ++line_;
    }
  }

  // Drops text up to `end`, keeping its newlines.
  void skip_to(std::size_t end) {
    end = std::min(end, text_.size());
    for (; at_ < end; ++at_) {
      if (text_[at_] != '\n') continue;
      file_.code += '\n';
      ++line_;
    }
  }

  bool line_is_blank() const {
    for (std::size_t i = file_.code.size(); i > 0 && file_.code[i - 1] != '\n'; --i)
      if (file_.code[i - 1] != ' ' && file_.code[i - 1] != '\t') return false;
    return true;
  }

  bool take_include() {
    const std::size_t end = std::min(text_.find('\n', at_), text_.size());
    std::string_view line = text_.substr(at_ + 1, end - at_ - 1);
    const auto trim = [&] {
      line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    };
    trim();
    if (!line.starts_with("include")) return false;
    line.remove_prefix(std::string_view("include").size());
    trim();
    if (line.empty() || (line[0] != '"' && line[0] != '<')) return false;
    const bool quoted = line[0] == '"';
    const std::size_t close = line.find(quoted ? '"' : '>', 1);
    if (close == std::string_view::npos) return false;
    file_.includes.push_back({std::string(line.substr(1, close - 1)), quoted, line_});
    skip_to(end);
    return true;
  }

  // The quote of 1'000'000 separates digits: the word before it starts with a digit.
  bool in_number() const {
    std::size_t i = at_;
    while (i > 0 && (is_word(text_[i - 1]) || text_[i - 1] == '\'')) --i;
    return std::isdigit(static_cast<unsigned char>(text_[i])) != 0;
  }

  bool is_raw() const { return at_ > 0 && text_[at_ - 1] == 'R'; }

  void skip_raw() {
    const std::size_t open = text_.find('(', at_);
    if (open == std::string_view::npos) return skip_to(open);
    const std::string close = ")" + std::string(text_.substr(at_ + 1, open - at_ - 1)) + "\"";
    const std::size_t end = text_.find(close, open);
    file_.code += "\"\"";
    skip_to(end == std::string_view::npos ? end : end + close.size());
  }

  void skip_literal(char quote) {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n')
      end += text_[end] == '\\' ? 2 : 1;
    file_.code += quote;
    file_.code += quote;
    skip_to(end < text_.size() && text_[end] == quote ? end + 1 : end);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1;
  SourceFile file_;
};

}  // namespace

SourceFile parse_source(std::string path, std::string_view text) {
  return Stripper(text).run(std::move(path));
}

std::vector<SourceFile> read_tree(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  static const std::set<std::string> extensions{".h", ".cpp", ".inc"};
  std::vector<SourceFile> files;
  for (const char* folder : {"include", "src", "tools", "examples"}) {
    if (!fs::is_directory(root / folder)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const fs::path& path = entry.path();
      if (!extensions.contains(path.extension().string())) continue;
      std::ifstream stream(path, std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(stream), {}};
      if (!stream) throw std::runtime_error("cannot read " + path.string());
      files.push_back(parse_source(path.lexically_relative(root).generic_string(), text));
    }
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

}  // namespace spillway::house
