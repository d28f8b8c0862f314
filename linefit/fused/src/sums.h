// Sums over all sites of the last layer's values, and the way back.

template <class T, int LANES, int ROWS>
struct Sums : Maximum<T, LANES, ROWS> {
    typedef Maximum<T, LANES, ROWS> Base;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    typedef typename Base::Layer Layer;
    using Base::program, Base::tables;

    Buffer<T> background_total, class_sites;

    using Base::Base;

    // What a sum is divided by.
    T divisor() const { return program.pooling == POOL_SUM ? T(1) : T(tables->area()); }

    // Features [image][channel], `pitch` apart.
    void pool_sum(T* sums, size_t pitch) {
        Layer& at = this->last();
        const int stride = at.stride;
        T *total = background_total.zeros(2 * stride), *part = total + stride;
        for (int y = 0; y < tables->height; ++y) {  // row by row: fewer roundings than site by site
            std::memset(part, 0, stride * sizeof(T));
            for (int x = 0; x < tables->width; ++x) {
                const T* value = at.value.data + size_t(at.level->class_of_site[y * tables->width + x]) * stride;
                for (int c = 0; c < stride; c += LANES) K::add(part + c, K::load(value + c));
            }
            for (int c = 0; c < stride; c += LANES) K::add(total + c, K::load(part + c));
        }
        int c = 0;
        for (; c + 3 * LANES <= stride; c += 3 * LANES) sum_columns<3>(sums, pitch, c);
        for (; c < stride; c += LANES) sum_columns<1>(sums, pitch, c);
    }

    template <int V>
    void sum_columns(T* sums, size_t pitch, int column) {
        Layer& at = this->last();
        const size_t stride = at.stride;
        const int64_t* start = at.start.data;
        const T* difference = at.difference.data + column;
        T* z = at.z.data + at.classes * stride + column;
        for (int64_t n = 0; n < this->images; ++n) {
            Vec sum[V];
            for (int v = 0; v < V; ++v) sum[v] = K::load(background_total.data + column + v * LANES);
            if (this->pools_sums()) {
                auto add = [&](int64_t p, int v, Vec before, Vec change) {
                    sum[v] += Base::difference_of(before, change);
                    if (this->trains) K::store(z + p * stride + v * LANES, before + change);
                };
                this->template each_sum<V>(program.depth, column, start[n], start[n + 1], add);
            } else {
                for (int64_t i = start[n]; i < start[n + 1]; ++i)
                    for (int v = 0; v < V; ++v)
                        sum[v] += K::load(difference + size_t(at.row.data[i]) * stride + v * LANES);
            }
            for (int v = 0; v < V; ++v) K::store(sums + n * pitch + column + v * LANES, sum[v] / divisor());
        }
    }

    // From the gradient of features [image][channel] to that of the last layer's values.
    void from_sum(const T* g, size_t pitch) {
        Layer& at = this->last();
        const size_t stride = at.stride;
        if (at.level->shared) this->zero_gradients(program.depth);
        T* to = at.gradient.need(size_t(at.classes + at.nodes + 1) * stride);
        T *total = this->totals.zeros(stride), *nodes = to + at.classes * stride;
        const T share = 1 / divisor();
        for (int64_t n = 0; n < this->images; ++n) {
            for (size_t c = 0; c < stride; c += LANES) {
                Vec value = share * K::load(g + n * pitch + c);
                K::add(total + c, value);
                if (!at.level->shared) continue;
                for (int64_t i = at.start.data[n]; i < at.start.data[n + 1]; ++i)
                    K::add(nodes + at.row.data[i] * stride + c, value);
            }
        }
        T* sites = class_sites.zeros(at.classes);  // that show a class
        for (int32_t cls : at.level->class_of_site) sites[cls] += 1;
        for (int cls = 0; cls < at.classes; ++cls)
            for (size_t c = 0; c < stride; c += LANES)
                K::store(to + cls * stride + c, sites[cls] * K::load(total + c));
        if (!at.level->shared) {
            for (int64_t n = 0; n < this->images; ++n)
                for (int64_t p = at.start.data[n]; p < at.start.data[n + 1]; ++p)
                    for (size_t c = 0; c < stride; c += LANES) {
                        const Vec value = Vec{} + share * K::load(g + n * pitch + c);
                        K::store(nodes + p * stride + c, value);
                        K::add(to + at.base.data[p] * stride + c, -value);
                    }
            return;
        }
        for (int64_t p = 0; p < at.nodes; ++p)
            for (size_t c = 0; c < stride; c += LANES)
                K::add(to + at.base.data[p] * stride + c, -K::load(nodes + p * stride + c));
    }
};
