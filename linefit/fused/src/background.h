// The best sites of the empty image in a window, channel by channel: found one after another, when an image hides all
// better ones.

struct Window {
    int top, bottom, left, right;
};

template <class T, int LANES, int ROWS>
class BackgroundMaxima {
    typedef Kernels<T, LANES, ROWS> K;
    typedef typename K::Vec Vec;
    typedef typename K::Ints Ints;

    const T* z;  // [class][stride], of which `channels` are real
    const size_t stride;
    const Level& level;
    const Tables& tables;
    const Window window;
    Buffer<T> row_top;         // [row][channel]: the largest value not listed yet
    Buffer<int32_t> row_site;  // its column, -1 if all are listed
    Buffer<int32_t> listed;    // [channel][rank]: sites
    Buffer<int32_t> length;    // [channel]
    Buffer<char> has_nan;      // [channel]

public:
    BackgroundMaxima(const T* z, size_t stride, int channels, const Level& level, const Tables& tables, Window window)
        : z(z), stride(stride), level(level), tables(tables), window(window) {
        row_top.need(tables.height * stride), row_site.need(tables.height * stride);
        listed.need(size_t(channels) * tables.area()), length.zeros(channels), has_nan.need(stride);
        for (size_t c = 0; c < stride; c += LANES) {
            Ints nan = {};
            for (int y = window.top; y < window.bottom; ++y) {
                Vec value = Vec{} - T(__builtin_inf());
                Ints where = {};
                for (int x = window.left; x < window.right; ++x) {
                    Vec z = K::load(z_at(y * tables.width + x) + c);
                    Ints larger = z > value;
                    nan |= z != z;
                    value = larger ? z : value;
                    where = larger ? Ints{} + typename K::Int(x) : where;
                }
                K::store(row_top.data + y * stride + c, value);
                for (int i = 0; i < LANES; ++i) row_site.data[y * stride + c + i] = int32_t(where[i]);
            }
            for (int i = 0; i < LANES; ++i) has_nan.data[c + i] = nan[i] != 0;
        }
    }

    // Replace an image's largest active value `top` of a channel, found at `row` (-1: nowhere), if its background shows a
    // larger one.
    void compare(int64_t image, int c, T& top, int32_t& row) {
        if (has_nan.data[c]) {
            top = T(__builtin_nan("")), row = 0;
            return;
        }
        if (top != top) return;
        for (int k = 0;; ++k) {
            int32_t s = site(c, k);
            if (s < 0) return;
            T value = z_at(s)[c];
            if (row >= 0 && value <= top) return;
            if (!tables.is_active(image, s)) {
                top = value, row = level.class_of_site[s];
                return;
            }
        }
    }

private:
    const T* z_at(int site) const { return z + level.class_of_site[site] * stride; }

    // The k-th best site, of equal ones the first; -1 if there are not so many.
    int32_t site(int c, int k) {
        const int width = tables.width;
        int32_t* list = listed.data + size_t(c) * tables.area();
        while (length.data[c] <= k) {
            T* top = row_top.data + c;
            int32_t* column = row_site.data + c;
            int best = -1;
            for (int y = window.top; y < window.bottom; ++y)
                if (column[y * stride] >= 0 && (best < 0 || top[y * stride] > top[best * stride])) best = y;
            if (best < 0) return -1;
            const T before = top[best * stride];
            const int from = column[best * stride];
            list[length.data[c]++] = best * width + from;
            int next = -1;
            T value = 0;
            for (int x = window.left; x < window.right; ++x) {
                T z = z_at(best * width + x)[c];
                bool open = z < before || (z == before && x > from);
                if (open && (next < 0 || z > value)) next = x, value = z;
            }
            top[best * stride] = value, column[best * stride] = next;
        }
        return list[k];
    }
};
