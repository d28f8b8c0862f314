// Largest values of every channel, over the whole map or over the windows of a grid, and the way back.

template <class T, int LANES, int ROWS>
struct Maximum : Backward<T, LANES, ROWS> {
    typedef Backward<T, LANES, ROWS> Base;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    typedef typename Base::Ints Ints;
    typedef typename Base::Layer Layer;
    using Base::AHEAD, Base::layer, Base::layout, Base::program, Base::tables, Base::taps;

    Buffer<int32_t> chosen;        // [window of an image][channel]: row of the last layer's z that is the maximum
    Buffer<int64_t> window_start;  // [window of an image + 1]
    Buffer<int32_t> window_row;    // [window_start[..]]: nodes
    Buffer<uint64_t> windows_of;   // [site]: a bit for every window that it is in
    Buffer<T> patches, item_sums;
    Buffer<int32_t> items_of, rows_of, patch_rows;

    using Base::Base;

    // Those of a grid overlap where its side does not divide the map's: as torch's adaptive pools.
    Window window(int w) const {
        const int side = program.pooling == POOL_GRID ? program.pooling_size : 1, y = w / side, x = w % side;
        return {y * tables->height / side, ((y + 1) * tables->height + side - 1) / side, x * tables->width / side,
                ((x + 1) * tables->width + side - 1) / side};
    }

    // Maxima [window of an image][channel], `pitch` apart, to `top`, and in `chosen` where each comes from.
    void pool_maximum(T* top, size_t pitch) {
        Layer& at = this->last();
        const int stride = at.stride, windows = program.windows();
        const int64_t count = this->images * windows;
        const int64_t* start = at.start.data;
        const int32_t* row = at.row.data;
        if (windows > 1) sort_by_window(), start = window_start.data, row = window_row.data;
        chosen.need(count * stride);
        int c = 0;
        for (; c + 3 * LANES <= stride; c += 3 * LANES) maximum_columns<3>(top, pitch, c, count, start, row);
        for (; c < stride; c += LANES) maximum_columns<1>(top, pitch, c, count, start, row);
        for (int w = 0; w < windows; ++w) {
            BackgroundMaxima<T, LANES, ROWS> best(at.z.data, at.stride, at.width, *at.level, *tables, window(w));
            for (int64_t n = 0; n < this->images; ++n)
                for (int64_t i = n * windows + w, c = 0; c < at.width; ++c)
                    best.compare(this->order[n], int(c), top[i * pitch + c], chosen.data[i * stride + c]);
        }
        for (int64_t i = 0; i < count; ++i)
            for (c = 0; c < stride; c += LANES) K::store(top + i * pitch + c, K::relu(K::load(top + i * pitch + c)));
    }

    void sort_by_window() {
        Layer& at = this->last();
        const int windows = program.windows();
        uint64_t* bits = windows_of.zeros(tables->area());
        for (int w = 0; w < windows; ++w) {
            const Window in = window(w);
            for (int y = in.top; y < in.bottom; ++y)
                for (int x = in.left; x < in.right; ++x) bits[y * tables->width + x] |= uint64_t(1) << w;
        }
        // A site is in four windows at most.
        int64_t *start = window_start.need(this->images * windows + 1), count = 0;
        int32_t* row = window_row.need(4 * at.start.data[this->images] + 1);
        start[0] = 0;
        for (int64_t n = 0; n < this->images; ++n) {
            const uint16_t* site = tables->site.data() + at.level->start[this->order[n]] - at.start.data[n];
            for (int w = 0; w < windows; ++w) {
                for (int64_t i = at.start.data[n]; i < at.start.data[n + 1]; ++i) {
                    row[count] = at.row.data[i];
                    count += bits[site[i]] >> w & 1;
                }
                start[n * windows + w + 1] = count;
            }
        }
    }

    template <int V>
    void maximum_columns(T* top, size_t pitch, int column, int64_t count, const int64_t* start, const int32_t* row) {
        Layer& at = this->last();
        const size_t stride = at.stride;
        const T* z = at.z.data + at.classes * stride + column;
        const int64_t total = start[count];
        for (int64_t n = 0; n < count; ++n) {
            Largest<V> largest;
            if (this->pools_sums()) {
                this->template each_sum<V>(program.depth, column, start[n], start[n + 1],
                                           [&](int64_t p, int v, Vec before, Vec change) {
                                               largest.see(v, before + change, int32_t(p));
                                           });
            } else {
                for (int64_t i = start[n]; i < start[n + 1]; ++i) {
                    const T* next = z + row[i + AHEAD < total ? i + AHEAD : i] * stride;
                    for (int v = 0; v < V; ++v) {
                        __builtin_prefetch(next + v * LANES);
                        largest.see(v, K::load(z + row[i] * stride + v * LANES), row[i]);
                    }
                }
            }
            largest.tell(top + n * pitch + column, chosen.data + n * stride + column, at.classes);
        }
    }

    // The largest values seen, channel by channel, and whose they are.
    template <int V>
    struct Largest {
        Vec value[V];
        Ints where[V];

        Largest() {
            for (int v = 0; v < V; ++v) value[v] = Vec{} - T(__builtin_inf()), where[v] = Ints{} - 1;
        }

        void see(int v, Vec here, int32_t node) {
            const Ints larger = (here > value[v]) | (here != here);  // NaN wins, as in a dense pool
            value[v] = larger ? here : value[v];
            where[v] = larger ? Ints{} + typename K::Int(node) : where[v];
        }

        void tell(T* top, int32_t* row, int classes) const {
            for (int v = 0; v < V; ++v) {
                K::store(top + v * LANES, value[v]);
                for (int i = 0; i < LANES; ++i)
                    row[v * LANES + i] = where[v][i] < 0 ? -1 : classes + int32_t(where[v][i]);
            }
        }
    };

    // Through the global maximum and the last convolution at once: the gradient reaches one patch an image and channel.
    // `features` [window of an image][channel] and their gradient `g`.
    void from_maximum(const T* features, const T* g, T* gradient) {
        const int l = program.depth;
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t in = below.stride, out = at.stride;
        const int64_t rows = at.classes + at.nodes, count = this->images * program.windows();
        T* to_weight = patches.zeros(taps * in * out);  // [tap][out][in]
        if (l > 1) this->zero_gradients(l - 1);
        int32_t *item_of_row = items_of.need(rows), *row_of_item = rows_of.need(count);
        int32_t* children = patch_rows.need(count * taps);
        T* sums = item_sums.need(count);
        for (int64_t row = 0; row < rows; ++row) item_of_row[row] = -1;
        for (int c = 0; c < at.width; ++c) {
            int64_t items = 0;
            T bias = 0;
            for (int64_t n = 0; n < count; ++n) {
                T value = g[n * out + c];
                if (features[n * out + c] <= 0 || value == 0) continue;
                bias += value;
                int32_t row = chosen.data[n * out + c];
                if (item_of_row[row] < 0) {
                    item_of_row[row] = int32_t(items);
                    row_of_item[items] = row;
                    sums[items++] = 0;
                }
                sums[item_of_row[row]] += value;
            }
            gradient[layout.bias[l] + c] += bias;
            for (int64_t i = 0; i < items; ++i) {
                item_of_row[row_of_item[i]] = -1;
                patch(l, row_of_item[i], children + i * taps);
            }
            if (l == 1) input_patches(c, items, row_of_item, sums, children, to_weight);
            else
                for (int tap = 0; tap < taps; ++tap) {
                    size_t at_tap = (tap * out + c) * in;
                    for (size_t k = 0; k < in; k += LANES)
                        one_tap(items, sums, children + tap, this->transposed[l].data + at_tap + k, below.z.data + k,
                                below.gradient.data + k, in, to_weight + at_tap + k);
                }
        }
        for (int tap = 0; tap < taps; ++tap)
            for (size_t c = 0; c < out; ++c)
                for (int k = 0; k < below.width; ++k)
                    gradient[layout.weight[l] + (tap * in + k) * out + c] += to_weight[(tap * out + c) * in + k];
    }

    // Rows of the layer below that a row of layer l reads through its taps.
    void patch(int l, int32_t row, int32_t* children) {
        Layer &at = layer[l], &below = layer[l - 1];
        const int64_t node = int64_t(row) - at.classes;
        const int32_t* classes = at.level->children.data() + (node < 0 ? row : at.base.data[node]) * taps;
        for (int tap = 0; tap < taps; ++tap)
            children[tap] = classes[tap] < 0 ? int32_t(below.classes + below.nodes) : classes[tap];
        if (node < 0) return;
        for (uint32_t e = at.first.data[node]; e < at.first.data[node + 1]; ++e)
            children[at.edge.data[e] % taps] = below.classes + int32_t(at.edge.data[e] / taps);
    }

    void one_tap(int64_t items, const T* g, const int32_t* children, const T* weight, const T* z, T* gradient,
                        size_t stride, T* to_weight) {
        Vec sum = {}, w = K::load(weight);
        for (int64_t i = 0; i < items; ++i) {
            size_t row = children[i * taps] * stride;
            sum += g[i] * K::relu(K::load(z + row));
            K::add(gradient + row, g[i] * w);
        }
        K::store(to_weight, sum);
    }

    // The same where the patch is of the input: constants everywhere, and a one in channel 0 where a pixel is lit.
    void input_patches(int c, int64_t items, const int32_t* rows, const T* g, const int32_t* children, T* to_weight) {
        Layer &at = layer[1], &input = layer[0];
        const size_t in = input.stride, out = at.stride;
        for (int64_t i = 0; i < items; ++i) {
            int32_t base = rows[i] < at.classes ? rows[i] : at.base.data[rows[i] - at.classes];
            for (int tap = 0; tap < taps; ++tap) {
                int32_t child = at.level->children[base * taps + tap];
                if (child < 0) continue;
                T* to = to_weight + (tap * out + c) * in;
                for (int k = 0; k < input.width; ++k) to[k] += g[i] * input.value.data[child * in + k];
                if (children[i * taps + tap] == input.classes) to[0] += g[i];
            }
        }
    }

    // The same to the last layer's values, beside what other poolings leave there.
    void add_maximum(const T* features, const T* g, size_t pitch) {
        Layer& at = this->last();
        for (int64_t n = 0; n < this->images; ++n)
            for (int c = 0; c < at.width; ++c)
                if (features[n * pitch + c] > 0)
                    at.gradient.data[size_t(chosen.data[n * at.stride + c]) * at.stride + c] += g[n * pitch + c];
    }
};
