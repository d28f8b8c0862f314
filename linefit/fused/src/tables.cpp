#include "tables.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>

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
        if (level.record.size() > UINT32_MAX || level.nodes >> (32 - TAP_BITS)) throw std::bad_alloc();
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

void classify(Level& level, const Level& below, int height, int width, int side) {
    std::map<std::vector<int32_t>, int32_t> found;
    std::vector<int32_t> key(side * side);
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            for (int tap = 0; tap < side * side; ++tap) {
                int v = y + tap / side - side / 2, u = x + tap % side - side / 2;
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
    typedef unsigned __int128 Bits;
    std::vector<std::tuple<Bits, uint32_t, int32_t>> order(level.nodes);  // taps, class, node
    for (int32_t node = 0; node < level.nodes; ++node) {
        Bits taps = 0;
        if (by_taps)
            for (uint32_t e = level.first[node] + 1; e < level.first[node + 1]; ++e)
                taps |= Bits(1) << (level.record[e] & LAST_TAP);
        order[node] = {taps, level.record[level.first[node]], node};
    }
    std::sort(order.begin(), order.end());
    std::vector<int32_t> renumbered(level.nodes);
    std::vector<uint32_t> first{0}, record;
    first.reserve(level.nodes + 1), record.reserve(level.record.size());
    for (int32_t to = 0; to < level.nodes; ++to) {
        int32_t from = std::get<2>(order[to]);
        renumbered[from] = to;
        record.insert(record.end(), level.record.begin() + level.first[from], level.record.begin() + level.first[from + 1]);
        first.push_back(uint32_t(record.size()));
    }
    level.first.swap(first), level.record.swap(record);
    for (int32_t& node : level.node) node = renumbered[node];
    if (above)
        for (int64_t node = 0; node < above->nodes; ++node)
            for (uint32_t e = above->first[node] + 1; e < above->first[node + 1]; ++e)
                above->record[e] = uint32_t(renumbered[above->record[e] >> TAP_BITS]) << TAP_BITS |
                                   (above->record[e] & LAST_TAP);
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

Tables* make_tables(const uint8_t* pixels, int64_t images, int height, int width, int depth, int side,
                    const int32_t* classes) {
    auto tables = std::make_unique<Tables>();
    tables->images = int32_t(images), tables->height = height, tables->width = width;
    tables->level.resize(depth + 1);
    tables->active.reserve(images * height);
    const int area = height * width, reach = side / 2, stride = width + 2 * reach;
    std::vector<int> offset;  // of a tap, from the first one
    for (int tap = 0; tap < side * side; ++tap) offset.push_back(tap / side * stride + tap % side);
    Level& lit = tables->level[0];
    lit.class_of_site.assign(classes, classes + area);
    lit.classes = 1 + *std::max_element(classes, classes + area);
    lit.nodes = 1;
    std::vector<Nodes> nodes;
    nodes.reserve(depth);
    for (int l = 1; l <= depth; ++l) {
        classify(tables->level[l], tables->level[l - 1], height, width, side);
        tables->level[l].start.push_back(0);
        nodes.emplace_back(tables->level[l]);
    }
    tables->level[depth].shared = tables->level[depth].classes < area;
    std::vector<uint32_t> record(1 + side * side);
    std::vector<std::pair<int64_t, int32_t>> lines;
    // Of one image: per level the node at every site, bordered, -1 where there is none; and the rows of active bits.
    std::vector<std::vector<int32_t>> at(depth + 1, std::vector<int32_t>((height + 2 * reach) * stride, -1));
    std::vector<std::vector<uint64_t>> rows(depth + 1, std::vector<uint64_t>(height + 2 * reach, 0));
    const uint64_t all = width == 64 ? ~uint64_t(0) : (uint64_t(1) << width) - 1;
    for (int64_t image = 0; image < images; ++image) {
        Pixels line;
        for (int y = 0; y < height; ++y) {
            uint64_t bits = 0;
            for (int x = 0; x < width; ++x) {
                bool on = pixels[(image * height + y) * width + x];
                bits |= uint64_t(on) << x;
                if (on) line.add(x, y);
                at[0][(y + reach) * stride + x + reach] = on ? 0 : -1;
            }
            rows[0][y + reach] = bits;
        }
        lines.emplace_back(line.key(height, width), int32_t(image));
        for (int l = 1; l <= depth; ++l) {
            Level& level = tables->level[l];
            std::fill(at[l].begin(), at[l].end(), -1);
            for (int y = 0; y < height; ++y) {
                uint64_t near = 0, bits = 0;
                for (int i = 0; i < side; ++i) near |= rows[l - 1][y + i];
                for (int i = 0; i <= reach; ++i) bits |= near << i | near >> i;
                bits = rows[l][y + reach] = bits & all;
                if (l == depth) tables->active.push_back(bits);
                for (; bits; bits &= bits - 1) {
                    int x = __builtin_ctzll(bits), size = 1;
                    record[0] = uint32_t(level.class_of_site[y * width + x]);
                    const int32_t* around = at[l - 1].data() + y * stride + x;
                    for (int tap = 0; tap < side * side; ++tap) {
                        int32_t child = around[offset[tap]];
                        if (child >= 0) record[size++] = uint32_t(child) << TAP_BITS | tap;
                    }
                    if (level.shared) {
                        int32_t node = nodes[l - 1].find(record.data(), size);
                        at[l][(y + reach) * stride + x + reach] = node;
                        level.node.push_back(node);
                    } else {
                        nodes[l - 1].append(record.data(), size);
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

Tables* build_tables(const uint8_t* pixels, int64_t images, int height, int width, int depth, int side,
                     const int32_t* classes) {
    return make_tables(pixels, images, height, width, depth, side, classes);
}
