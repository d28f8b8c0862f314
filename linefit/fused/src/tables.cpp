#include "tables.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>

#include "program.h"

namespace {

// Distinct nodes of one level by their class and edges: open addressing, exact comparison.
class Nodes {
public:
    explicit Nodes(Level& level) : level(level), slots(1 << 12, -1) { level.first.push_back(0); }

    // `record`: class and edges, `size` words.
    int32_t find(const uint32_t* record, int size) {
        uint64_t hash = 0x9E3779B97F4A7C15u;
        for (int i = 0; i < size; ++i) hash = (hash ^ record[i]) * 0xD6E8FEB86659FD93u, hash ^= hash >> 32;
        for (size_t at = hash & (slots.size() - 1);; at = (at + 1) & (slots.size() - 1)) {
            int32_t node = slots[at];
            if (node < 0) return insert(at, hash, record, size);
            if (hashes[node] == hash && int(level.first[node + 1] - level.first[node]) == size &&
                std::equal(record, record + size, level.record.data() + level.first[node]))
                return node;
        }
    }

    int32_t append(const uint32_t* record, int size) {
        level.record.insert(level.record.end(), record, record + size);
        if (level.record.size() > UINT32_MAX) throw std::bad_alloc();
        level.first.push_back(uint32_t(level.record.size()));
        return int32_t(level.nodes++);
    }

private:
    int32_t insert(size_t at, uint64_t hash, const uint32_t* record, int size) {
        int32_t node = append(record, size);
        slots[at] = node;
        hashes.push_back(hash);
        if (size_t(level.nodes) * 2 > slots.size()) grow();
        return node;
    }

    void grow() {
        slots.assign(slots.size() * 2, -1);
        for (size_t node = 0; node < hashes.size(); ++node) {
            size_t at = hashes[node] & (slots.size() - 1);
            while (slots[at] >= 0) at = (at + 1) & (slots.size() - 1);
            slots[at] = int32_t(node);
        }
    }

    Level& level;
    std::vector<int32_t> slots;
    std::vector<uint64_t> hashes;
};

void classify(Level& level, const Level& below, int height, int width) {
    std::map<std::array<int32_t, TAPS>, int32_t> found;
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            std::array<int32_t, TAPS> key;
            for (int tap = 0; tap < TAPS; ++tap) {
                int v = y + tap / 3 - 1, u = x + tap % 3 - 1;
                bool inside = v >= 0 && v < height && u >= 0 && u < width;
                key[tap] = inside ? below.class_of_site[v * width + u] : -1;
            }
            auto [entry, is_new] = found.try_emplace(key, level.classes);
            if (is_new) {
                ++level.classes;
                level.children.insert(level.children.end(), key.begin(), key.end());
            }
            level.class_of_site.push_back(entry->second);
        }
}

// Renumber nodes so that those with active neighbours at the same taps stand together, by class: rows of a matrix
// product that stand together are then zero in the same columns. The last level's stand by class alone.
void sort_nodes(Level& level, Level* above, bool by_taps) {
    std::vector<std::pair<uint64_t, int32_t>> order(level.nodes);
    for (int32_t node = 0; node < level.nodes; ++node) {
        uint64_t taps = 0;
        if (by_taps)
            for (uint32_t e = level.first[node] + 1; e < level.first[node + 1]; ++e) taps |= 1u << (level.record[e] & 15);
        order[node] = {taps << 32 | level.record[level.first[node]], node};
    }
    std::sort(order.begin(), order.end());
    std::vector<int32_t> renumbered(level.nodes);
    std::vector<uint32_t> first{0}, record;
    first.reserve(level.nodes + 1), record.reserve(level.record.size());
    for (int32_t to = 0; to < level.nodes; ++to) {
        int32_t from = order[to].second;
        renumbered[from] = to;
        record.insert(record.end(), level.record.begin() + level.first[from], level.record.begin() + level.first[from + 1]);
        first.push_back(uint32_t(record.size()));
    }
    level.first.swap(first), level.record.swap(record);
    for (int32_t& node : level.node) node = renumbered[node];
    if (above)
        for (int64_t node = 0; node < above->nodes; ++node)
            for (uint32_t e = above->first[node] + 1; e < above->first[node + 1]; ++e)
                above->record[e] = uint32_t(renumbered[above->record[e] >> 4]) << 4 | (above->record[e] & 15);
}

// Slope and height of an image's pixels, each as one of a few steps: images of equal keys are alike.
struct Pixels {
    double count = 0, x = 0, y = 0, xx = 0, xy = 0;

    void add(double column, double row) { count += 1, x += column, y += row, xx += column * column, xy += column * row; }

    int64_t key(int height, int width) const {
        if (count == 0) return 0;
        const double spread = xx - x * x / count;
        const double slope = spread > 0 ? (xy - x * y / count) / spread : 0;
        const double middle = y / count + slope * (width / 2 - x / count);
        const double bounded = std::fmin(std::fmax(middle, -8.0 * height), 8.0 * height);
        return int64_t(std::lround(std::atan(slope) * 8)) * (1 << 20) + int64_t(std::lround(bounded * 16));
    }
};

Tables* make_tables(const uint8_t* pixels, int64_t images, int height, int width, int depth, const int32_t* classes) {
    auto tables = std::make_unique<Tables>();
    tables->images = int32_t(images), tables->height = height, tables->width = width, tables->depth = depth;
    tables->level.resize(depth + 1);
    tables->active.reserve(images * height);
    const int area = height * width, stride = width + 2;
    Level& lit = tables->level[0];
    lit.class_of_site.assign(classes, classes + area);
    lit.classes = 1 + *std::max_element(classes, classes + area);
    lit.nodes = 1;
    std::vector<Nodes> nodes;
    nodes.reserve(depth);
    for (int l = 1; l <= depth; ++l) {
        classify(tables->level[l], tables->level[l - 1], height, width);
        tables->level[l].start.push_back(0);
        nodes.emplace_back(tables->level[l]);
    }
    tables->level[depth].shared = tables->level[depth].classes < area;
    std::vector<std::pair<int64_t, int32_t>> lines;
    // Of one image: per level the node at every site, bordered, -1 where there is none; and the rows of active bits.
    std::vector<std::vector<int32_t>> at(depth + 1, std::vector<int32_t>((height + 2) * stride, -1));
    std::vector<std::vector<uint64_t>> rows(depth + 1, std::vector<uint64_t>(height + 2, 0));
    const uint64_t all = width == 64 ? ~uint64_t(0) : (uint64_t(1) << width) - 1;
    for (int64_t image = 0; image < images; ++image) {
        Pixels line;
        for (int y = 0; y < height; ++y) {
            uint64_t bits = 0;
            for (int x = 0; x < width; ++x) {
                bool on = pixels[(image * height + y) * width + x];
                bits |= uint64_t(on) << x;
                if (on) line.add(x, y);
                at[0][(y + 1) * stride + x + 1] = on ? 0 : -1;
            }
            rows[0][y + 1] = bits;
        }
        lines.emplace_back(line.key(height, width), int32_t(image));
        for (int l = 1; l <= depth; ++l) {
            Level& level = tables->level[l];
            std::fill(at[l].begin(), at[l].end(), -1);
            for (int y = 0; y < height; ++y) {
                uint64_t near = rows[l - 1][y] | rows[l - 1][y + 1] | rows[l - 1][y + 2];
                uint64_t bits = rows[l][y + 1] = (near | near << 1 | near >> 1) & all;
                if (l == depth) tables->active.push_back(bits);
                for (; bits; bits &= bits - 1) {
                    int x = __builtin_ctzll(bits), size = 1;
                    uint32_t record[TAPS + 1] = {uint32_t(level.class_of_site[y * width + x])};
                    const int32_t* around = at[l - 1].data() + y * stride + x;
                    for (int tap = 0; tap < TAPS; ++tap) {
                        int32_t child = around[tap / 3 * stride + tap % 3];
                        record[size] = uint32_t(child) << 4 | tap;
                        size += child >= 0;
                    }
                    if (level.shared) {
                        int32_t node = nodes[l - 1].find(record, size);
                        at[l][(y + 1) * stride + x + 1] = node;
                        level.node.push_back(node);
                    } else {
                        nodes[l - 1].append(record, size);
                    }
                    if (l == depth) tables->site.push_back(uint16_t(y * width + x));
                }
            }
            level.start.push_back(level.shared ? int64_t(level.node.size()) : level.nodes);
        }
    }
    for (int l = 1; l <= depth; ++l)
        if (tables->level[l].shared) sort_nodes(tables->level[l], l < depth ? &tables->level[l + 1] : nullptr, l < depth);
    std::sort(lines.begin(), lines.end());
    for (auto& [key, image] : lines) tables->similar.push_back(image);
    // They may be kept for long.
    tables->site.shrink_to_fit();
    for (Level& level : tables->level)
        level.first.shrink_to_fit(), level.record.shrink_to_fit(), level.node.shrink_to_fit();
    return tables.release();
}

}  // namespace

Tables* build_tables(const uint8_t* pixels, int64_t images, int height, int width, int depth, const int32_t* classes) {
    return make_tables(pixels, images, height, width, depth, classes);
}
