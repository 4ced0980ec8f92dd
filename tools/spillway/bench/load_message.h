#pragma once

#include <nlohmann/json.hpp>

#include "spillway/path_load.h"
#include "spillway/timeline.h"

namespace spillway::tool {

/// What LoadWorker and its process say to each other: one JSON object a line, with one key each.
///
///   to it     options, then any number of: run, start
///   from it   filled..., ready; per run: prepared, spans..., result; at any time: error
inline constexpr std::size_t spans_per_line = 1000;

nlohmann::json options_message(const PathLoadOptions& options);
PathLoadOptions options_in(const nlohmann::json& message);
nlohmann::json shape_message(const LoadShape& shape, std::int64_t spans);
LoadShape shape_in(const nlohmann::json& message);
nlohmann::json result_message(const LoadResult& result);
LoadResult result_in(const nlohmann::json& message);
nlohmann::json path_message(const PathStats& path);
PathStats path_in(const nlohmann::json& message);
nlohmann::json span_message(const Span& span);
Span span_in(const nlohmann::json& message);

}  // namespace spillway::tool
