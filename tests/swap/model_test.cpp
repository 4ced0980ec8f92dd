// Random calls against a map of plain vectors. Each seed chooses a place and flags of its own; the
// seed is printed with every failure.

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "support/captured_log.h"
#include "swap/contents.h"

namespace spillway {
namespace {

using test::error_of;

using Bytes = std::vector<std::byte>;

struct Column {
  const char* name;
  DType dtype;
  std::int64_t per_value;
  double initial;
};
// Mixed widths, one value for 256 elements, and constants that are not zero.
constexpr Column columns[] = {{"master", DType::f32, 1, 0},
                              {"half", DType::bf16, 1, 0},
                              {"scale", DType::u8, 256, 7},
                              {"sign", DType::i8, 1, -1}};
constexpr int column_count = 4;

std::int64_t values(const Column& column, std::int64_t elements) {
  return (elements + column.per_value - 1) / column.per_value;
}
std::int64_t bytes(const Column& column, std::int64_t elements) {
  return values(column, elements) * width(column.dtype);
}

Bytes constant(const Column& column, double value, std::int64_t elements) {
  Bytes made(static_cast<std::size_t>(bytes(column, elements)));
  if (column.dtype == DType::u8 || column.dtype == DType::i8)
    std::ranges::fill(made, static_cast<std::byte>(static_cast<int>(value)));
  return made;  // the floats start at zero
}

class Model {
 public:
  Model(std::uint32_t seed, const std::filesystem::path& path)
      : random_(seed), context_(config(path)), swapper_(context_, options()) {
    units_.push_back(default_unit);
  }

  std::string about() const { return about_; }

  void run(int operations) {
    for (int i = 0; i < operations && !::testing::Test::HasFailure(); ++i) {
      const int what = pick(100);
      if (what < 14) {
        add();
      } else if (what < 19) {
        remove();
      } else if (what < 21) {
        units_.push_back(swapper_.add_unit("unit " + std::to_string(units_.size())));
      } else if (what < 45) {
        pass();
      } else if (what < 65) {
        step();
      } else if (what < 78) {
        write_state();
      } else if (what < 95) {
        read_state();
      } else if (what < 98) {
        reset();
      } else {
        check_all();
      }
    }
    if (!::testing::Test::HasFailure()) check_all();
  }

 private:
  struct Param {
    ParamId id{};
    UnitId unit{};
    std::int64_t elements = 0;
    std::uint64_t tag = 0;
    Bytes state[column_count];
    std::map<std::int64_t, std::int64_t> stepped;  // offset of a slice -> last step committed
  };

  int pick(int below) { return std::uniform_int_distribution<int>(0, below - 1)(random_); }
  bool chance(int percent) { return pick(100) < percent; }

  Config config(const std::filesystem::path& path) {
    test::Home home;
    const int place = pick(6);
    home.device = place == 0   ? OffloadDevice::none
                  : place == 1 ? OffloadDevice::cpu
                               : OffloadDevice::nvme;
    home.ratio = place == 2 ? 0 : place == 3 ? 0.37 : 1;
    home.pipeline_read = chance(60), home.pipeline_write = chance(60);
    home.undo = undo_ = chance(50);
    keeps_old_ = home.keeps_old();
    // 4096 elements take 16 + 8 + 4 + 4 KiB, and a trailer each where checksums are off.
    Config config = test::config_for(home, path, 48 * 1024 + 4096 * pick(12));
    config.offload_optimizer.buffer_count = 1 + home.pipeline_read + home.pipeline_write + pick(3);
    config.offload_optimizer.fast_init = chance(50);
    config.io.checksums = chance(70);
    config.io.engine = chance(30) ? EngineChoice::threads : EngineChoice::automatic;
    config.io.block_size = chance(50) ? 8192 : 1024 * 1024;
    about_ = describe(home) + ", " + std::to_string(config.offload_optimizer.buffer_count) +
             " buffers of " + std::to_string(*config.offload_optimizer.buffer_size) +
             (config.offload_optimizer.fast_init ? ", fast_init" : "") +
             (config.io.checksums ? "" : ", trailers");
    return config;
  }
  OptimizerOptions options() const {
    OptimizerOptions options;
    for (const Column& column : columns)
      options.states.push_back({column.name, column.dtype, column.per_value, column.initial});
    options.undo = undo_;
    return options;
  }

  Param* any() {
    if (params_.empty()) return nullptr;
    auto at = params_.begin();
    std::advance(at, pick(static_cast<int>(params_.size())));
    return &at->second;
  }
  Bytes noise(std::int64_t size) {
    Bytes made(static_cast<std::size_t>(size));
    for (std::byte& byte : made) byte = static_cast<std::byte>(random_());
    return made;
  }

  void add() {
    if (params_.size() > 14) return remove();
    constexpr std::int64_t sizes[] = {0, 1, 5, 255, 256, 257, 4095, 4096, 4097, 9000, 20000};
    Param param;
    param.elements = chance(70) ? sizes[pick(11)] : pick(30000);
    param.unit = units_[static_cast<std::size_t>(pick(static_cast<int>(units_.size())))];
    param.tag = ++tags_;
    ParamOptions options{.unit = param.unit, .tag = param.tag};
    for (int s = 0; s < column_count; ++s) {
      param.state[s] = constant(columns[s], initial_[s], param.elements);
      if (!chance(10)) continue;
      param.state[s] = noise(bytes(columns[s], param.elements));
      options.init.push_back({columns[s].name, param.state[s]});
    }
    param.id = swapper_.add("param " + std::to_string(tags_), param.elements, options);
    params_[param.tag] = std::move(param);
  }

  void remove() {
    Param* gone = any();
    if (gone == nullptr) return;
    swapper_.remove(gone->id);
    EXPECT_EQ(error_of([&] { swapper_.remove(gone->id); }), Errc::invalid_argument);
    params_.erase(gone->tag);
  }

  void reset() {
    const int s = pick(column_count);
    const double value = columns[s].dtype == DType::u8 || columns[s].dtype == DType::i8
                             ? static_cast<double>(pick(100))
                             : 0.0;
    swapper_.reset(columns[s].name, value);
    initial_[s] = value;
    for (auto& [tag, param] : params_) {
      param.state[s] = constant(columns[s], value, param.elements);
    }
  }

  std::span<std::byte> part(Param& param, int s, std::int64_t offset, std::int64_t count) {
    return std::span(param.state[s])
        .subspan(static_cast<std::size_t>(bytes(columns[s], offset)),
                 static_cast<std::size_t>(bytes(columns[s], count)));
  }

  // Pulls a pass; commits or drops its tiles; gives up early now and then. True: to the end, and
  // nothing was dropped.
  bool pull(const Pass& request, const std::set<std::uint64_t>& chosen, std::uint32_t read,
            std::uint32_t write, bool may_drop) {
    bool complete = true;
    std::vector<std::tuple<std::uint64_t, std::int64_t, std::int64_t>> dropped;
    std::set<std::pair<std::uint64_t, std::int64_t>> seen;
    {
      auto run = swapper_.begin(request);
      for (;;) {
        if (chance(30)) std::ignore = run.upcoming();
        if (may_drop && chance(4)) {
          complete = false;
          break;
        }
        std::optional<Tile> tile;
        try {
          tile = run.next();
        } catch (const StepError&) {
          EXPECT_FALSE(keeps_old_);
          complete = false;
          break;
        }
        if (!tile) break;
        const bool drop = may_drop && chance(12);
        std::uint32_t changing = 0;  // of this tile, every slice or none
        for (int s = 0; s < column_count; ++s)
          if ((write >> s & 1) != 0 && chance(85)) changing |= 1u << s;
        std::vector<std::pair<std::span<std::byte>, Bytes>> news;
        for (const Slice& slice : tile->slices()) {
          EXPECT_TRUE(chosen.contains(slice.tag)) << "a slice that nobody asked for";
          EXPECT_TRUE(seen.emplace(slice.tag, slice.offset).second) << "a slice came twice";
          Param& param = params_.at(slice.tag);
          if (request.step) {
            const auto last = param.stepped.find(slice.offset);
            EXPECT_TRUE(last == param.stepped.end() || last->second != *request.step)
                << "the step was applied already";
          }
          for (int s = 0; s < column_count; ++s) {
            const auto model = part(param, s, slice.offset, slice.count);
            if ((read >> s & 1) != 0) {
              const auto got = slice.raw(columns[s].name, columns[s].dtype, false);
              EXPECT_TRUE(std::ranges::equal(got, model))
                  << columns[s].name << " of param " << slice.tag << " at " << slice.offset;
            }
            if ((changing >> s & 1) == 0) continue;
            const auto to = slice.raw(columns[s].name, columns[s].dtype, true);
            Bytes fresh = noise(static_cast<std::int64_t>(to.size()));
            std::ranges::copy(fresh, to.begin());
            news.emplace_back(model, std::move(fresh));
          }
        }
        if (drop) {
          complete = false;
          for (const Slice& slice : tile->slices())
            dropped.emplace_back(slice.tag, slice.offset, slice.count);
          continue;
        }
        for (const Slice& slice : tile->slices())
          if (request.step) params_.at(slice.tag).stepped[slice.offset] = *request.step;
        tile->commit();
        for (auto& [model, fresh] : news) std::ranges::copy(fresh, model.begin());
      }
    }
    for (const auto& [tag, offset, count] : dropped) heal(params_.at(tag), offset, count);
    return complete;
  }

  // A dropped slice is old, or torn where memory is its home; then it is written again.
  void heal(Param& param, std::int64_t offset, std::int64_t count) {
    for (int s = 0; s < column_count; ++s) {
      const auto model = part(param, s, offset, count);
      Bytes got(model.size());
      const std::int64_t at = values(columns[s], offset);
      try {
        swapper_.read_state(param.id, columns[s].name, at, got);
        EXPECT_TRUE(std::ranges::equal(got, model)) << "a dropped tile must be old";
      } catch (const StepError& error) {
        EXPECT_FALSE(keeps_old_) << error.what();
        swapper_.write_state(param.id, columns[s].name, at, model);
      }
    }
  }

  void pass() {
    Pass request;
    std::uint32_t read = 0, write = 0;
    std::vector<std::string> read_names, write_names;
    for (int s = 0; s < column_count; ++s) {
      if (chance(45)) read |= 1u << s, read_names.emplace_back(columns[s].name);
      if (chance(35)) write |= 1u << s, write_names.emplace_back(columns[s].name);
    }
    if (read == 0 && write == 0) read = write = (1u << column_count) - 1;
    request.read = StateNames(read_names), request.write = StateNames(write_names);
    if (chance(20)) request.order = Order::registration;
    std::set<std::uint64_t> chosen;
    std::set<UnitId> in;
    if (chance(30)) {
      std::vector<UnitId> some;
      for (UnitId unit : units_)
        if (chance(50)) some.push_back(unit), in.insert(unit);
      request.units = some;
    } else {
      in.insert(units_.begin(), units_.end());
    }
    const bool only = chance(30);
    std::vector<ParamId> some;
    for (auto& [tag, param] : params_) {
      if (only && chance(60)) continue;
      if (only) some.push_back(param.id);
      if (in.contains(param.unit)) chosen.insert(tag);
    }
    if (only) request.only = some;
    pull(request, chosen, read, write, true);
  }

  // One step, left early and resumed until it is done, or given up by a load of everything.
  void step() {
    Pass request;
    request.step = ++steps_;
    std::set<std::uint64_t> all;
    for (auto& [tag, param] : params_) all.insert(tag);
    constexpr std::uint32_t every = (1u << column_count) - 1;
    for (int attempt = 0;; ++attempt) {
      if (pull(request, all, every, every, attempt < 3)) return;
      if (chance(25)) {
        Pass load;
        load.write = {"master", "half", "scale", "sign"};
        auto run = swapper_.begin(load);
        while (auto tile = run.next()) {
          for (const Slice& slice : tile->slices())
            for (int s = 0; s < column_count; ++s) {
              const auto to = slice.raw(columns[s].name, columns[s].dtype, true);
              const Bytes fresh = noise(static_cast<std::int64_t>(to.size()));
              std::ranges::copy(fresh, to.begin());
              std::ranges::copy(fresh,
                                part(params_.at(slice.tag), s, slice.offset, slice.count).begin());
            }
          tile->commit();
        }
        for (auto& [tag, param] : params_) param.stepped.clear();
        return;  // any other step may follow now
      }
      if (half_done()) {
        Pass other;
        other.step = steps_ + 1;
        EXPECT_EQ(error_of([&] { swapper_.begin(other); }), Errc::step_incomplete);
      }
    }
  }
  // In some unit, some slices hold the step and some that were there before do not.
  bool half_done() {
    std::map<UnitId, std::pair<bool, bool>> units;
    for (auto& [tag, param] : params_) {
      std::int64_t held = 0;
      for (const auto& [offset, last] : param.stepped) held += last == steps_;
      auto& [some, missing] = units[param.unit];
      some |= held > 0;
      missing |= param.elements > 0 && held == 0;
    }
    for (const auto& [unit, found] : units)
      if (found.first && found.second) return true;
    return false;
  }

  void write_state() {
    Param* param = any();
    if (param == nullptr) return;
    const int s = pick(column_count);
    const std::int64_t all = values(columns[s], param->elements);
    const std::int64_t from = chance(30) ? 0 : pick(static_cast<int>(all) + 1);
    const std::int64_t count = chance(30) ? all - from : pick(static_cast<int>(all - from) + 1);
    const std::int64_t unit = width(columns[s].dtype);
    const Bytes fresh = noise(count * unit);
    swapper_.write_state(param->id, columns[s].name, from, fresh);
    std::ranges::copy(fresh, param->state[s].begin() + from * unit);
  }

  void read_state() {
    Param* param = any();
    if (param == nullptr) return;
    const int s = pick(column_count);
    const std::int64_t all = values(columns[s], param->elements);
    const std::int64_t from = pick(static_cast<int>(all) + 1);
    const std::int64_t count = pick(static_cast<int>(all - from) + 1);
    const std::int64_t unit = width(columns[s].dtype);
    Bytes got(static_cast<std::size_t>(count * unit));
    swapper_.read_state(param->id, columns[s].name, from, got);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), param->state[s].begin() + from * unit))
        << columns[s].name << " of param " << param->tag;
    got.resize(static_cast<std::size_t>((all - from + 1) * unit));
    EXPECT_EQ(error_of([&] { swapper_.read_state(param->id, columns[s].name, from, got); }),
              Errc::invalid_argument);
  }

  void check_all() {
    std::int64_t elements = 0;
    for (auto& [tag, param] : params_) {
      elements += param.elements;
      EXPECT_EQ(swapper_.elements(param.id), param.elements);
      for (int s = 0; s < column_count; ++s) {
        Bytes got(param.state[s].size());
        swapper_.read_state(param.id, columns[s].name, 0, got);
        EXPECT_TRUE(got == param.state[s]) << columns[s].name << " of param " << tag;
      }
    }
    const OptimizerStats stats = swapper_.stats();
    EXPECT_EQ(stats.parameters, static_cast<std::int64_t>(params_.size()));
    EXPECT_EQ(stats.elements, elements);
  }

  std::mt19937 random_;
  std::string about_;
  bool undo_ = false, keeps_old_ = false;
  Context context_;
  OptimizerSwapper swapper_;
  std::vector<UnitId> units_;
  std::map<std::uint64_t, Param> params_;  // by tag
  double initial_[column_count] = {0, 0, 7, -1};
  std::uint64_t tags_ = 0;
  std::int64_t steps_ = 0;
};

// SPILLWAY_MODEL_SEEDS and SPILLWAY_MODEL_FIRST make long runs by hand.
int setting(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::atoi(text) : otherwise;
}

TEST(SwapperModelTest, RandomCallsEqualPlainVectors) {
  const CapturedLog log;
  const int first = setting("SPILLWAY_MODEL_FIRST", 1);
  const int seeds = setting("SPILLWAY_MODEL_SEEDS", 12);
  for (int seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    const test::Scratch scratch;
    {
      Model model(static_cast<std::uint32_t>(seed), scratch.path());
      SCOPED_TRACE("seed " + std::to_string(seed) + ": " + model.about());
      try {
        model.run(150);
      } catch (const Error& error) {
        ADD_FAILURE() << to_string(error.code()) << ": " << error.what();
      }
    }
    EXPECT_TRUE(scratch.empty()) << "seed " << seed << " left something in the path";
  }
}

}  // namespace
}  // namespace spillway
