// Softmax over all sites, of scores that every row of the last layer has, and means that it weights: for every image and
// channel, and the way back. Nothing is subtracted from the empty image's sums: a softmax may be dominated by one of the
// sites that an image hides. Instead the map is divided into blocks: one that shows the empty image alone is a single
// term, the sites of all others are terms of their own.

// What a pooling is made of: whether all channels share a row's score, and how many means there are; one is of the
// values, two are of the positions.
template <bool SHARED, int MEANS>
struct Form {
    static constexpr bool shared = SHARED;
    static constexpr int means = MEANS;
};

template <class T, int LANES, int ROWS>
struct Softmax : Sums<T, LANES, ROWS> {
    typedef Sums<T, LANES, ROWS> Base;
    typedef Functions<T, LANES, ROWS> F;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    typedef typename Base::Layer Layer;
    using Base::images, Base::program, Base::tables;

    static constexpr int BLOCK = 8;  // sites of a row of the map

    Buffer<int64_t> term_start, block_start;  // [image + 1]
    Buffer<int32_t> term_row, block;          // rows of the last layer; blocks that no active site is in
    Buffer<uint16_t> term_site;
    Buffer<T> values;                               // [row][channel], after ReLU
    Buffer<T> block_top, block_total, block_means;  // [block][channel], the last [mean][block][channel]
    Buffer<T> block_pull, block_push;               // gradients: of what all sites share, and [mean] of each mean
    Buffer<T> top, total;                           // [image][channel]: the largest score; sum of exp(score - top)
    const T* scores = nullptr;                      // [row][channel], or [row]
    const T* positions = nullptr;                   // [site][2]

    using Base::Base;

    int blocks_in_row() const { return (tables->width + BLOCK - 1) / BLOCK; }
    int blocks() const { return tables->height * blocks_in_row(); }

    template <class Visit>
    void sites_of(int b, Visit visit) const {
        const int y = b / blocks_in_row(), left = b % blocks_in_row() * BLOCK;
        for (int x = left; x < tables->width && x < left + BLOCK; ++x) {
            const int site = y * tables->width + x;
            visit(this->last().level->class_of_site[site], site);
        }
    }

    // Values of all rows, and the terms of all images' sums.
    void collect_terms() {
        Layer& at = this->last();
        const size_t size = size_t(at.classes + at.nodes) * at.stride;
        T* to = values.need(size);
        for (size_t i = 0; i < size; i += LANES) K::store(to + i, K::relu(K::load(at.z.data + i)));
        const int64_t most = at.start.data[images] * BLOCK + 1;
        term_start.need(images + 1), term_row.need(most), term_site.need(most);
        block_start.need(images + 1), block.need(images * blocks() + 1);
        int64_t terms = 0, whole = 0;
        for (int64_t n = 0; n < images; ++n) {
            const int64_t image = this->order[n];
            term_start.data[n] = terms, block_start.data[n] = whole;
            const uint16_t* site = tables->site.data() + at.level->start[image] - at.start.data[n];
            for (int64_t i = at.start.data[n]; i < at.start.data[n + 1]; ++i) {
                term_row.data[terms] = at.classes + at.row.data[i];
                term_site.data[terms++] = site[i];
            }
            for (int b = 0; b < blocks(); ++b) {
                const int left = b % blocks_in_row() * BLOCK;
                const uint64_t active = tables->active[image * tables->height + b / blocks_in_row()] >> left;
                if (!(active & ((1 << BLOCK) - 1))) {
                    block.data[whole++] = b;
                    continue;
                }
                sites_of(b, [&](int32_t row, int s) {
                    term_row.data[terms] = row, term_site.data[terms] = uint16_t(s);
                    terms += !tables->is_active(image, s);
                });
            }
        }
        term_start.data[images] = terms, block_start.data[images] = whole;
    }

    template <class Form, int V>
    void load_scores(size_t row, int column, Vec* to) const {
        if constexpr (Form::shared) to[0] = Vec{} + scores[row];
        else
            for (int v = 0; v < V; ++v) to[v] = K::load(scores + row * this->last().stride + column + v * LANES);
    }

    // What the mean is taken of, at a site that shows a row.
    template <class Form>
    Vec term(int mean, size_t row, int site, int column) const {
        return Form::means == 1 ? K::load(values.data + row * this->last().stride + column)
                                : Vec{} + positions[2 * site + mean];
    }

    // Features [image][mean][channel], and `top` and `total`.
    template <class Form>
    void pool_softmax(T* features) {
        const size_t stride = this->last().stride;
        block_top.need(blocks() * stride), block_total.need(blocks() * stride);
        block_means.need((Form::means + 1) * blocks() * stride);
        top.need(images * stride), total.need(images * stride);
        size_t c = 0;
        for (; c + 3 * LANES <= stride; c += 3 * LANES) pool_columns<Form, 3>(features, int(c));
        for (; c < stride; c += LANES) pool_columns<Form, 1>(features, int(c));
    }

    template <class Form, int V>
    void pool_columns(T* features, int column) {
        constexpr int S = Form::shared ? 1 : V, M = Form::means;
        const size_t stride = this->last().stride, all = blocks() * stride;
        Vec score[S], best[S], sum[S], means[M + 1][V];
        auto start = [&] {
            for (Vec& value : best) value = Vec{} - T(__builtin_inf());
            for (Vec& value : sum) value = Vec{};
            for (auto& mean : means)
                for (Vec& value : mean) value = Vec{};
        };
        auto larger = [&] {
            for (int v = 0; v < S; ++v) best[v] = score[v] > best[v] ? score[v] : best[v];
        };
        auto add = [&](size_t row, int site) {
            load_scores<Form, V>(row, column, score);
            for (int v = 0; v < S; ++v) sum[v] += score[v] = F::exp(score[v] - best[v]);
            for (int m = 0; m < M; ++m)
                for (int v = 0; v < V; ++v)
                    means[m][v] += score[v % S] * term<Form>(m, row, site, column + v * LANES);
        };
        for (int b = 0; b < blocks(); ++b) {
            const size_t at = b * stride + column;
            start();
            sites_of(b, [&](int32_t row, int) { load_scores<Form, V>(row, column, score), larger(); });
            sites_of(b, add);
            for (int v = 0; v < S; ++v)
                K::store(block_top.data + at + v * LANES, best[v]), K::store(block_total.data + at + v * LANES, sum[v]);
            for (int m = 0; m < M; ++m)
                for (int v = 0; v < V; ++v) K::store(block_means.data + m * all + at + v * LANES, means[m][v]);
        }
        for (int64_t n = 0; n < images; ++n) {
            start();
            for (int64_t i = term_start.data[n]; i < term_start.data[n + 1]; ++i)
                load_scores<Form, V>(term_row.data[i], column, score), larger();
            for (int64_t i = block_start.data[n]; i < block_start.data[n + 1]; ++i) {
                const T* from = block_top.data + block.data[i] * stride + column;
                for (int v = 0; v < S; ++v) score[v] = K::load(from + v * LANES);
                larger();
            }
            for (int64_t i = term_start.data[n]; i < term_start.data[n + 1]; ++i)
                add(term_row.data[i], term_site.data[i]);
            for (int64_t i = block_start.data[n]; i < block_start.data[n + 1]; ++i) {
                const size_t at = block.data[i] * stride + column;
                for (int v = 0; v < S; ++v) {
                    score[v] = F::exp(K::load(block_top.data + at + v * LANES) - best[v]);
                    sum[v] += score[v] * K::load(block_total.data + at + v * LANES);
                }
                for (int m = 0; m < M; ++m)
                    for (int v = 0; v < V; ++v)
                        means[m][v] += score[v % S] * K::load(block_means.data + m * all + at + v * LANES);
            }
            const size_t at = n * stride + column;
            for (int v = 0; v < V; ++v) {
                K::store(top.data + at + v * LANES, best[v % S]), K::store(total.data + at + v * LANES, sum[v % S]);
                for (int m = 0; m < M; ++m)
                    K::store(features + (n * M + m) * stride + column + v * LANES, means[m][v] / sum[v % S]);
            }
        }
    }

    // From gradients to those of scores and values, added to `to_scores` [row][channel] ([row][lane] where channels
    // share them) and `to_values` [row][channel]. A site of share p gets p (pull + sum of push times what the mean is
    // of): `push` [image][mean][channel] are the gradients of means, `pull` [image][channel] is what all sites have in
    // common.
    template <class Form>
    void from_softmax(const T* pull, const T* push, T* to_scores, T* to_values) {
        const size_t stride = this->last().stride;
        block_pull.zeros(blocks() * stride), block_push.zeros((Form::means + 1) * blocks() * stride);
        size_t c = 0;
        for (; c + 3 * LANES <= stride; c += 3 * LANES)
            spread_columns<Form, 3>(pull, push, to_scores, to_values, int(c));
        for (; c < stride; c += LANES) spread_columns<Form, 1>(pull, push, to_scores, to_values, int(c));
    }

    template <class Form, int V>
    void spread_columns(const T* pull, const T* push, T* to_scores, T* to_values, int column) {
        constexpr int S = Form::shared ? 1 : V, M = Form::means;
        const size_t stride = this->last().stride, all = blocks() * stride;
        Vec score[S], best[S], scale[S], common[V], each[M + 1][V];
        auto add = [&](size_t row, int site) {
            load_scores<Form, V>(row, column, score);
            Vec sum = {};
            for (int v = 0; v < S; ++v) score[v] = F::exp(score[v] - best[v]) * scale[v];
            for (int v = 0; v < V; ++v) {
                Vec change = common[v];
                for (int m = 0; m < M; ++m) change += each[m][v] * term<Form>(m, row, site, column + v * LANES);
                if (Form::shared) sum += score[0] * change;
                else K::add(to_scores + row * stride + column + v * LANES, score[v] * change);
                if (M == 1) K::add(to_values + row * stride + column + v * LANES, score[v % S] * each[0][v]);
            }
            if (Form::shared) K::add(to_scores + row * LANES, sum);
        };
        for (int64_t n = 0; n < images; ++n) {
            const size_t at = n * stride + column;
            for (int v = 0; v < S; ++v) {
                best[v] = K::load(top.data + at + v * LANES);
                scale[v] = T(1) / K::load(total.data + at + v * LANES);
            }
            for (int v = 0; v < V; ++v) {
                common[v] = K::load(pull + at + v * LANES);
                for (int m = 0; m < M; ++m) each[m][v] = K::load(push + (n * M + m) * stride + column + v * LANES);
            }
            for (int64_t i = term_start.data[n]; i < term_start.data[n + 1]; ++i)
                add(term_row.data[i], term_site.data[i]);
            for (int64_t i = block_start.data[n]; i < block_start.data[n + 1]; ++i) {
                const size_t of = block.data[i] * stride + column;
                for (int v = 0; v < S; ++v)
                    score[v] = F::exp(K::load(block_top.data + of + v * LANES) - best[v]) * scale[v];
                for (int v = 0; v < V; ++v) {
                    K::add(block_pull.data + of + v * LANES, score[v % S] * common[v]);
                    for (int m = 0; m < M; ++m)
                        K::add(block_push.data + m * all + of + v * LANES, score[v % S] * each[m][v]);
                }
            }
        }
        for (Vec& value : scale) value = Vec{} + T(1);
        for (int b = 0; b < blocks(); ++b) {
            const size_t of = b * stride + column;
            for (int v = 0; v < S; ++v) best[v] = K::load(block_top.data + of + v * LANES);
            for (int v = 0; v < V; ++v) {
                common[v] = K::load(block_pull.data + of + v * LANES);
                for (int m = 0; m < M; ++m) each[m][v] = K::load(block_push.data + m * all + of + v * LANES);
            }
            sites_of(b, add);
        }
    }
};
