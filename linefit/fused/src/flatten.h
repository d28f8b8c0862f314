// A flatten net's first linear layer: ten million weights, so that a step is as long as it takes to read and write them.
// Forward reads a weight once; backward and Adam read and write it in one pass.

template <class T, int LANES, int ROWS>
struct Flatten : Pools<T, LANES, ROWS> {
    typedef Pools<T, LANES, ROWS> Base;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    typedef typename Base::Layer Layer;
    using Base::program, Base::tables;

    static constexpr int BLOCK = 400;  // sites: what their nodes need stays in the second cache for all channels

    // The batch's nodes, image by image, in the order of their sites.
    Buffer<int32_t> image, row;
    Buffer<int64_t> first;
    Buffer<int64_t> begins, ends;  // [image]: its nodes in a block of sites
    Buffer<T> unit_sums, visible;  // [site][hidden]: gradient of all images that show the background there

    using Base::Base;

    void sort_by_site() {
        Layer& at = this->last();
        const int area = tables->area();
        int64_t* starts = first.zeros(area + 2);
        for (int64_t n = 0; n < this->images; ++n) {
            const uint16_t* site = tables->site.data() + at.level->start[this->order[n]];
            const int64_t count = at.start.data[n + 1] - at.start.data[n];
            for (int64_t i = 0; i < count; ++i) ++starts[site[i] + 2];
        }
        image.need(at.start.data[this->images] + 1), row.need(at.start.data[this->images] + 1);
        for (int s = 0; s < area; ++s) starts[s + 2] += starts[s + 1];
        for (int64_t n = 0; n < this->images; ++n) {
            const uint16_t* site = tables->site.data() + at.level->start[this->order[n]];
            for (int64_t i = at.start.data[n]; i < at.start.data[n + 1]; ++i) {
                int64_t to = starts[site[i - at.start.data[n]] + 1]++;
                image.data[to] = int32_t(n);
                row.data[to] = at.row.data[i];
            }
        }
    }

    // out [image][hidden], before ReLU. A block of a channel's weights is read once for all images.
    void forward_linear(const T* weight, const T* bias, T* out) {
        Layer& at = this->last();
        const int hidden = program.hidden, area = tables->area();
        T* shared = unit_sums.need(hidden);
        std::memcpy(shared, bias, hidden * sizeof(T));
        std::memset(out, 0, this->images * hidden * sizeof(T));
        int64_t *begin = begins.need(this->images), *end = ends.need(this->images);
        std::memcpy(end, at.start.data, this->images * sizeof(int64_t));
        for (int block = 0; block < area; block += BLOCK) {
            const int next = block + BLOCK < area ? block + BLOCK : area;
            for (int64_t n = 0; n < this->images; ++n) {
                begin[n] = end[n];
                while (end[n] < at.start.data[n + 1] && sites(n)[end[n]] < next) ++end[n];
            }
            for (int c = 0; c < at.width; ++c) {
                const T* w = weight + size_t(c) * area * hidden;
                for (int s = block; s < next; ++s) {
                    T value = at.value.data[size_t(at.level->class_of_site[s]) * at.stride + c];
                    if (value != 0 || this->complete) add_scaled(shared, value, w + size_t(s) * hidden, hidden);
                }
                for (int64_t n = 0; n < this->images; ++n) {
                    if (begin[n] == end[n]) continue;
                    int o = 0;
                    for (; o + 8 * LANES <= hidden; o += 8 * LANES) add_nodes<8>(out, w, n, c, o);
                    for (; o < hidden; o += LANES) add_nodes<1>(out, w, n, c, o);
                }
            }
        }
        for (int64_t n = 0; n < this->images; ++n) add_scaled(out + n * hidden, T(1), shared, hidden);
    }

    // The sites of an image's nodes, which are counted as those of the batch.
    const uint16_t* sites(int64_t n) const {
        const Layer& at = this->layer[program.depth];
        return tables->site.data() + at.level->start[this->order[n]] - at.start.data[n];
    }

    // To an image's hidden units from `o` on, what its nodes in the block add through a channel.
    template <int V>
    void add_nodes(T* out, const T* weight, int64_t n, int c, int o) {
        Layer& at = this->last();
        const int hidden = program.hidden;
        const uint16_t* site = sites(n);
        const T* difference = at.difference.data + c;
        T* to = out + n * hidden + o;
        Vec sum[V];
        for (int v = 0; v < V; ++v) sum[v] = K::load(to + v * LANES);
        for (int64_t i = begins.data[n]; i < ends.data[n]; ++i) {
            const T change = difference[size_t(at.row.data[i]) * at.stride];
            if (change == 0 && !this->complete) continue;
            const T* w = weight + size_t(site[i]) * hidden + o;
            for (int v = 0; v < V; ++v) sum[v] += change * K::load(w + v * LANES);
        }
        for (int v = 0; v < V; ++v) K::store(to + v * LANES, sum[v]);
    }

    static void add_scaled(T* to, T factor, const T* from, int count) {
        for (int o = 0; o < count; o += LANES) K::add(to + o, factor * K::load(from + o));
    }

    static T dot(const T* a, const T* b, int count) {
        Vec sum = {};
        for (int o = 0; o < count; o += LANES) sum += K::load(a + o) * K::load(b + o);
        return K::sum(sum);
    }

    // From the gradient `g` [image][hidden] to that of the last layer's values; the weight and its moments are updated
    // by `update(weight, mean, square, gradient)` on the way. With `only_met`, those of weights that never had a gradient
    // are left alone: without decay Adam would not change them.
    template <class Update>
    void backward_linear(const T* g, const Parameters<T>& parameters, bool only_met, Update update) {
        sort_by_site();
        Layer& at = this->last();
        const int hidden = program.hidden, area = tables->area(), stride = at.stride;
        this->zero_gradients(program.depth);
        visible_gradients(g);
        T* gradient = unit_sums.need(hidden);
        for (int block = 0; block < area; block += BLOCK)
            for (int c = 0; c < at.width; ++c)
                for (int s = block; s < area && s < block + BLOCK; ++s) {
                    const size_t index = size_t(c) * area + s;
                    const int32_t cls = at.level->class_of_site[s];
                    T* weight = parameters.large + index * hidden;
                    const T* shown = visible.data + size_t(s) * hidden;
                    const T value = at.value.data[size_t(cls) * stride + c];
                    bool nonzero = value != 0;
                    for (int o = 0; o < hidden; o += LANES) K::store(gradient + o, value * K::load(shown + o));
                    if (nonzero) at.gradient.data[size_t(cls) * stride + c] += dot(weight, shown, hidden);
                    for (int64_t i = first.data[s]; i < first.data[s + 1]; ++i) {
                        const size_t cell = size_t(at.classes + row.data[i]) * stride + c;
                        const T z = at.z.data[cell];
                        if (z <= 0) continue;
                        const T* of_image = g + size_t(image.data[i]) * hidden;
                        add_scaled(gradient, z, of_image, hidden);
                        at.gradient.data[cell] += dot(weight, of_image, hidden);
                        nonzero = true;
                    }
                    if (only_met && !nonzero && !parameters.met[index]) continue;
                    parameters.met[index] = 1;
                    T* mean = parameters.large_mean + index * hidden;
                    T* square = parameters.large_square + index * hidden;
                    for (int o = 0; o < hidden; o += LANES)
                        update(weight + o, mean + o, square + o, K::load(gradient + o));
                }
    }

    void visible_gradients(const T* g) {
        const int hidden = program.hidden, area = tables->area();
        T* total = unit_sums.zeros(hidden);
        for (int64_t n = 0; n < this->images; ++n) add_scaled(total, T(1), g + n * hidden, hidden);
        visible.need(size_t(area) * hidden);
        for (int s = 0; s < area; ++s) {
            T* to = visible.data + size_t(s) * hidden;
            std::memcpy(to, total, hidden * sizeof(T));
            for (int64_t i = first.data[s]; i < first.data[s + 1]; ++i)
                add_scaled(to, T(-1), g + size_t(image.data[i]) * hidden, hidden);
        }
    }
};
