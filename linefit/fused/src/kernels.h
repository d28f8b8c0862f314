// Dense inner kernels on padded rows: matrix products tiled in registers. Included once per instruction set, inside
// that set's namespace. Sums run in one fixed order, so that results depend on nothing but the arguments.

// Memory that is kept from step to step. Throws std::bad_alloc.
template <class E>
class Buffer {
public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    ~Buffer() { std::free(data); }

    bool holds(size_t count) const { return count <= size; }

    E* need(size_t count) {
        if (count > size) {
            std::free(data);
            size = 0;
            data = static_cast<E*>(std::aligned_alloc(64, (count * sizeof(E) + 63) / 64 * 64));
            if (!data) throw std::bad_alloc();
            size = count;
        }
        return data;
    }

    E* zeros(size_t count) {
        std::memset(need(count), 0, count * sizeof(E));
        return data;
    }

    E* data = nullptr;

private:
    size_t size = 0;
};

template <class T> struct Integer;
template <> struct Integer<float> { typedef int32_t type; };
template <> struct Integer<double> { typedef int64_t type; };

// ROWS x 3 vectors are what a tile of a product keeps in registers.
template <class T, int LANES, int ROWS>
struct Kernels {
    typedef typename Integer<T>::type Int;
    typedef T Vec __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));
    typedef Int Ints __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));

    static Vec load(const T* from) { return *reinterpret_cast<const Vec*>(from); }
    static void store(T* to, Vec value) { *reinterpret_cast<Vec*>(to) = value; }
    static void add(T* to, Vec value) { store(to, load(to) + value); }
    // As in a dense net: NaN stays NaN.
    static Vec relu(Vec value) { return value < Vec{} ? Vec{} : value; }

    static T sum(Vec value) {
        T lane[LANES];
        store(lane, value);
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
        return lane[0];
    }

    static bool any(const T* row, int count) {
        Ints bits = {};
        for (int i = 0; i < count; i += LANES) bits |= *reinterpret_cast<const Ints*>(row + i);
        Int lane[LANES], all = 0;
        std::memcpy(lane, &bits, sizeof lane);
        for (int i = 0; i < LANES; ++i) all |= lane[i];
        return all << 1 != 0;  // -0 is zero
    }

    // Which columns of a few rows a product needs: first those that differ between the rows, then `equal` ones of one
    // value, which are multiplied once. Columns of zeros are left out unless `complete`.
    struct Columns {
        int different, equal;
    };

    // `compare` says whether to look for equal ones: it pays where many products follow from one row.
    static Columns columns(const T* const* row, int width, bool compare, bool complete, uint16_t* list) {
        int different = 0, equal = 0;
        if (!compare) {
            for (int k = 0; k < width; k += LANES) {
                Ints any = {};
                for (int r = 0; r < ROWS; ++r) any |= *reinterpret_cast<const Ints*>(row[r] + k);
                Int lane[LANES];
                std::memcpy(lane, &any, sizeof lane);
                for (int i = 0; i < LANES && k + i < width; ++i) {
                    list[different] = uint16_t(k + i);
                    different += lane[i] != 0 || complete;
                }
            }
            return {different, 0};
        }
        uint16_t* equals = list + width + LANES;
        for (int k = 0; k < width; k += LANES) {
            const Ints first = *reinterpret_cast<const Ints*>(row[0] + k);
            Ints others = {};
            for (int r = 1; r < ROWS; ++r) others |= first ^ *reinterpret_cast<const Ints*>(row[r] + k);
            Int lane[LANES], value[LANES];
            std::memcpy(lane, &others, sizeof lane), std::memcpy(value, &first, sizeof value);
            for (int i = 0; i < LANES && k + i < width; ++i) {
                list[different] = equals[equal] = uint16_t(k + i);
                different += lane[i] != 0;
                equal += lane[i] == 0 && (value[i] != 0 || complete);
            }
        }
        return {different, equal};
    }

    // A matrix product's right side: for each of `segments` runs of `width` rows a panel [width][stride], `step` apart.
    struct Panel {
        const T* data;
        int segments, width;
        size_t step, stride;
    };

    // Rows times a panel: `row_at(r, segment)` points to `width` values (padded with zeros to a multiple of LANES);
    // vector v of the result's row r is at `out + r * out_stride + v * LANES`, its columns at `offset(v)` of the panel.
    // `initial` is what a row starts from, or null. `complete` is needed where weights are not finite: zero times
    // infinity is NaN.
    template <class RowAt, class Offset>
    static void multiply(int64_t rows, RowAt row_at, const Panel& panel, int vectors, Offset offset, const T* initial,
                         T* out, size_t out_stride, bool complete, Buffer<uint16_t>& scratch) {
        const size_t length = 2 * size_t(panel.width + LANES);
        uint16_t* lists = scratch.need(panel.segments * length);
        const T* row[MAX_TAPS][ROWS];
        Columns count[MAX_TAPS];
        for (int64_t begin = 0; begin < rows; begin += ROWS) {
            int valid = int(rows - begin < ROWS ? rows - begin : ROWS);
            for (int s = 0; s < panel.segments; ++s) {
                for (int r = 0; r < ROWS; ++r) row[s][r] = row_at(begin + (r < valid ? r : valid - 1), s);
                count[s] = columns(row[s], panel.width, panel.segments == 1, complete, lists + s * length);
            }
            for (int v = 0; v < vectors; v += 3) {
                size_t offsets[3] = {offset(v), offset(v + 1), offset(v + 2)};
                T* to = out + begin * out_stride + v * LANES;
                const T* from = initial ? initial + v * LANES : nullptr;
                switch (vectors - v) {
                    case 1: tile<1>(panel, row, lists, count, offsets, from, to, out_stride, valid); break;
                    case 2: tile<2>(panel, row, lists, count, offsets, from, to, out_stride, valid); break;
                    default: tile<3>(panel, row, lists, count, offsets, from, to, out_stride, valid);
                }
            }
        }
    }

    template <int V>
    static void tile(const Panel& panel, const T* const (*row)[ROWS], const uint16_t* lists, const Columns* count,
                     const size_t* offsets, const T* initial, T* out, size_t out_stride, int valid) {
        Vec sums[ROWS][V], common[V];
        for (int v = 0; v < V; ++v) common[v] = initial ? load(initial + v * LANES) : Vec{};
        for (int v = 0; v < V; ++v)
            for (int r = 0; r < ROWS; ++r) sums[r][v] = Vec{};
        for (int s = 0; s < panel.segments; ++s) {
            const T* a[ROWS];
            for (int r = 0; r < ROWS; ++r) a[r] = row[s][r];
            const T* data = panel.data + s * panel.step;
            const uint16_t* list = lists + size_t(s) * 2 * (panel.width + LANES);
            for (int i = 0; i < count[s].different; ++i) {
                size_t k = list[i];
                Vec w[V];
                for (int v = 0; v < V; ++v) w[v] = load(data + k * panel.stride + offsets[v]);
                for (int r = 0; r < ROWS; ++r)
                    for (int v = 0; v < V; ++v) sums[r][v] += a[r][k] * w[v];
            }
            list += panel.width + LANES;
            for (int i = 0; i < count[s].equal; ++i)
                for (int v = 0; v < V; ++v)
                    common[v] += a[0][list[i]] * load(data + list[i] * panel.stride + offsets[v]);
        }
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < V; ++v) sums[r][v] += common[v];
        for (int r = 0; r < valid; ++r)
            for (int v = 0; v < V; ++v) store(out + r * out_stride + v * LANES, sums[r][v]);
    }

    // to[k][..] += sum over pairs of left[k] * right[..], for k below `width`; both sides are given row by row.
    static void accumulate(int64_t pairs, const T* const* left, const T* const* right, int width, int vectors, T* to,
                           size_t stride) {
        for (int k = 0; k < width; k += ROWS)
            for (int v = 0; v < vectors; v += 3) {
                T* at = to + k * stride + v * LANES;
                int rows = width - k;
                switch (vectors - v) {
                    case 1: outer<1>(pairs, left, right, k, v * LANES, rows, at, stride); break;
                    case 2: outer<2>(pairs, left, right, k, v * LANES, rows, at, stride); break;
                    default: outer<3>(pairs, left, right, k, v * LANES, rows, at, stride);
                }
            }
    }

    template <int V>
    static void outer(int64_t pairs, const T* const* left, const T* const* right, int k, int column, int rows, T* to,
                      size_t stride) {
        if (rows >= ROWS) outer_rows<V, ROWS>(pairs, left, right, k, column, to, stride);
        else
            for (int r = 0; r < rows; ++r) outer_rows<V, 1>(pairs, left, right, k + r, column, to + r * stride, stride);
    }

    template <int V, int R>
    static void outer_rows(int64_t pairs, const T* const* left, const T* const* right, int k, int column, T* to,
                           size_t stride) {
        Vec sums[R][V];
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) sums[r][v] = load(to + r * stride + v * LANES);
        for (int64_t i = 0; i < pairs; ++i) {
            const T *a = left[i] + k, *b = right[i] + column;
            Vec y[V];
            for (int v = 0; v < V; ++v) y[v] = load(b + v * LANES);
            for (int r = 0; r < R; ++r)
                for (int v = 0; v < V; ++v) sums[r][v] += a[r] * y[v];
        }
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v) store(to + r * stride + v * LANES, sums[r][v]);
    }
};
