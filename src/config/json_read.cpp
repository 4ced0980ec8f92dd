#include "config/json_read.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/throw.h"

namespace spillway::config {
namespace {

struct Position {
  std::size_t line = 1;
  std::size_t column = 1;
};

// Of the byte at `index`, both from 1.
Position position_of(std::string_view text, std::size_t index) {
  const std::string_view before = text.substr(0, std::min(index, text.size()));
  const std::size_t newline = before.rfind('\n');
  Position at;
  at.line += static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  at.column += newline == std::string_view::npos ? before.size() : before.size() - newline - 1;
  return at;
}

// What the parser's message says after its own idea of the place, cut to one readable line:
// "[json...] parse error at line 1, column 2: syntax error while parsing value - invalid literal".
std::string reason_of(std::string_view what) {
  for (const std::string_view start : {": syntax error", "number overflow"}) {
    const std::size_t at = what.find(start);
    if (at == std::string_view::npos) continue;
    what.remove_prefix(at + (start.front() == ':' ? 2 : 0));
    break;
  }
  return clipped(what, 200);
}

// What people write in configurations that JSON does not have, told from the offending byte.
std::string_view hint_for(std::string_view text, std::size_t index, std::string_view reason) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return "; the text is empty, write {} for all defaults";
  if (index >= text.size()) return "; the text ends too early";
  const std::string_view rest = text.substr(index);
  const std::size_t back = index == 0 ? text.npos : text.find_last_not_of(" \t\r\n", index - 1);
  switch (rest.front()) {
    case '/':
    case '#': return "; JSON has no comments";
    case '\'': return "; JSON strings stand in double quotes";
    case 'N':
    case 'I': return "; JSON has neither NaN nor Infinity";
    case '}':
    case ']':
      if (back != text.npos && text[back] == ',') return "; remove the comma before it";
      return {};
    case '"':
      if (reason.find("unexpected string literal") == reason.npos)
        return {};  // it is what is wrong
      return "; is a comma missing before it?";
    case 'T':
    case 'F': return "; write true and false in small letters";
    default: return {};
  }
}

// Builds the tree. Returns false from a callback to stop the parser, with `refusal` set.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(std::string_view text) : text_(text) {}

  bool null() override { return leaf(JsonValue::Kind::null, {}); }
  bool boolean(bool value) override {
    if (!leaf(JsonValue::Kind::boolean, {})) return false;
    last_->boolean = value;
    return true;
  }
  bool number_integer(number_integer_t value) override {
    return leaf(JsonValue::Kind::number, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return leaf(JsonValue::Kind::number, std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& digits) override {
    std::string text = digits;
    // The lexer puts the locale's decimal point into its copy.
    for (char& c : text)
      if (std::string_view("0123456789+-eE").find(c) == std::string_view::npos) c = '.';
    return leaf(JsonValue::Kind::number, std::move(text));
  }
  bool string(string_t& value) override { return leaf(JsonValue::Kind::string, std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not part of JSON text
  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool start_object(std::size_t) override { return open(JsonValue::Kind::object); }
  bool start_array(std::size_t) override { return open(JsonValue::Kind::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  // `read` is how many bytes the parser has taken, the offending one included.
  bool parse_error(std::size_t read, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::size_t index = read == 0 ? 0 : read - 1;
    // An unexpected string is reported at its closing quote; people look for where it starts.
    if (index > 0 && index < text_.size() && text_[index] == '"') {
      const std::size_t start = text_.rfind('"', index - 1);
      if (start != std::string_view::npos) index = start;
    }
    const Position at = position_of(text_, index);
    const std::string reason = reason_of(error.what());
    refusal = fmt::format("line {}, column {}: {}{}", at.line, at.column, reason,
                          hint_for(text_, index, reason));
    return false;
  }

  JsonValue root;
  std::optional<std::string> refusal;

 private:
  bool leaf(JsonValue::Kind kind, std::string text) {
    if (++values_ > max_values) {
      refusal = fmt::format("holds more than {} values; is it a configuration?", max_values);
      return false;
    }
    // Only the innermost open value grows, so the pointers below it stay good.
    if (open_.empty()) {
      last_ = &root;
    } else {
      last_ = &open_.back()->items.emplace_back();
      last_->key = std::exchange(key_, {});
    }
    last_->kind = kind;
    last_->text = std::move(text);
    return true;
  }
  bool open(JsonValue::Kind kind) {
    if (open_.size() == max_depth) {
      refusal = fmt::format("is nested more than {} levels deep", max_depth);
      return false;
    }
    if (!leaf(kind, {})) return false;
    open_.push_back(last_);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  std::string key_;
  std::vector<JsonValue*> open_;
  JsonValue* last_ = nullptr;
  std::size_t values_ = 0;
};

}  // namespace

JsonValue read_json(std::string_view text, std::string_view name) {
  if (text.size() > max_text_bytes)
    throw_error(Errc::invalid_config, "{}: larger than {} MiB; is it a configuration?", name,
                max_text_bytes / (1024 * 1024));
  TreeBuilder builder(text);
  if (!nlohmann::json::sax_parse(text, &builder))
    throw_error(Errc::invalid_config, "{}: {}", name,
                builder.refusal.value_or("cannot be read as JSON"));
  return std::move(builder.root);
}

}  // namespace spillway::config
