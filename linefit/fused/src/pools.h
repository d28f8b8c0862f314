// All poolings but flatten: features [image][part][channel] of the last layer, and the way back from their gradient.

template <class T, int LANES, int ROWS>
struct Pools : Attention<T, LANES, ROWS> {
    typedef Attention<T, LANES, ROWS> Base;
    typedef typename Base::F F;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    typedef typename Base::Layer Layer;
    using Base::images, Base::layout, Base::program, Base::tables, Base::values;

    typedef Form<false, 0> LogSumExp;
    typedef Form<false, 1> SoftPool;
    typedef Form<false, 2> SpatialSoftmax;
    typedef Form<true, 1> SharedSoftmax;

    static constexpr T LEAST = T(1e-6);  // GeM's values are not below

    Buffer<T> features, row_scores, logarithms, pull, lanes;

    using Base::Base;

    T* pool() {
        const size_t stride = program.last(), pitch = program.parts() * stride;
        T* out = features.need(images * pitch);
        switch (program.pooling) {
            case POOL_MAX:
            case POOL_GRID: this->pool_maximum(out, stride); break;
            case POOL_AVERAGE:
            case POOL_SUM: this->pool_sum(out, stride); break;
            case POOL_MAX_AVERAGE: this->pool_maximum(out, pitch), this->pool_sum(out + stride, pitch); break;
            default: pool_by_softmax(out);
        }
        return out;
    }

    // `x`: the features, `g`: their gradient. It comes to that of the last layer's values, or through the last
    // convolution where maxima are pooled.
    void from_pool(const T* x, const T* g, T* gradient) {
        const size_t stride = program.last(), pitch = program.parts() * stride;
        switch (program.pooling) {
            case POOL_MAX:
            case POOL_GRID: this->from_maximum(x, g, gradient); break;
            case POOL_AVERAGE:
            case POOL_SUM: this->from_sum(g, stride); break;
            case POOL_MAX_AVERAGE:
                this->from_sum(g + stride, pitch);
                this->add_maximum(x, g, pitch);
                break;
            default: from_pool_by_softmax(x, g, gradient);
        }
    }

private:
    size_t size() { return size_t(this->last().classes + this->last().nodes) * this->last().stride; }
    // The parameters of the pooling.
    const T* own() const { return this->theta + layout.pooling; }
    T sharpness() const { return std::exp(-own()[0]); }

    void pool_by_softmax(T* out) {
        this->collect_terms();
        this->scores = values.data;
        switch (program.pooling) {
            case POOL_LOG_SUM_EXP:
                this->template pool_softmax<LogSumExp>(out);
                each_feature([&](size_t i, int) { out[i] = log_total(i); });
                break;
            case POOL_GEM:
                this->scores = score_powers();
                this->template pool_softmax<LogSumExp>(out);
                each_feature([&](size_t i, int c) { out[i] = std::exp(log_mean(i) / own()[c]); });
                break;
            case POOL_SOFT: this->template pool_softmax<SoftPool>(out); break;
            case POOL_SPATIAL_SOFTMAX: {
                T* scores = row_scores.need(size());
                for (size_t i = 0; i < size(); i += LANES) K::store(scores + i, sharpness() * K::load(values.data + i));
                this->scores = scores;
                this->template pool_softmax<SpatialSoftmax>(out);
                break;
            }
            default:
                this->scores = this->score_rows();
                this->template pool_softmax<SharedSoftmax>(out);
        }
        // The head reads no padding but that of a last part.
        const size_t stride = program.last();
        for (size_t row = 0; row < size_t(images) * program.parts(); ++row)
            for (size_t c = this->last().width; c < stride; ++c) out[row * stride + c] = 0;
    }

    void from_pool_by_softmax(const T* x, const T* g, T* gradient) {
        Layer& at = this->last();
        const size_t stride = program.last(), parts = program.parts();
        T *common = pull.zeros(images * stride), *to_own = gradient + layout.pooling;
        this->zero_gradients(program.depth);
        T* to = at.gradient.data;
        if (program.pooling == POOL_LOG_SUM_EXP) {
            this->template from_softmax<LogSumExp>(g, nullptr, to, nullptr);
            return;
        }
        if (program.pooling == POOL_GEM) {
            each_feature([&](size_t i, int c) {
                common[i] = g[i] * x[i] / own()[c];
                to_own[c] -= common[i] * log_mean(i) / own()[c];
            });
            this->template from_softmax<LogSumExp>(common, nullptr, to, nullptr);
            from_powers(to, to_own);
            return;
        }
        for (size_t row = 0; row < size_t(images) * parts; ++row)
            for (size_t c = 0; c < stride; c += LANES)
                K::add(common + row / parts * stride + c, -K::load(g + row * stride + c) * K::load(x + row * stride + c));
        if (program.pooling == POOL_SOFT) {
            this->template from_softmax<SoftPool>(common, g, to, to);
        } else if (program.pooling == POOL_SPATIAL_SOFTMAX) {
            this->template from_softmax<SpatialSoftmax>(common, g, to, nullptr);
            Vec sum = {};
            for (size_t i = 0; i < size(); i += LANES) {
                const Vec to_score = K::load(to + i);
                sum += to_score * K::load(this->scores + i);
                K::store(to + i, sharpness() * to_score);
            }
            to_own[0] -= K::sum(sum);
        } else {
            T* to_scores = lanes.zeros(size() / stride * LANES);
            this->template from_softmax<SharedSoftmax>(common, g, to_scores, to);
            this->from_scores(to_scores, to, gradient);
        }
    }

    // Of features of one part: where they are, and their channel.
    template <class Visit>
    void each_feature(Visit visit) {
        for (int64_t n = 0; n < images; ++n)
            for (int c = 0; c < this->last().width; ++c) visit(size_t(n * program.last() + c), c);
    }

    T log_total(size_t i) const { return this->top.data[i] + std::log(this->total.data[i]); }
    T log_mean(size_t i) const { return log_total(i) - std::log(T(tables->area())); }

    // GeM's scores: the logarithms of values, times the channels' exponents.
    const T* score_powers() {
        const size_t stride = program.last();
        T *scores = row_scores.need(size()), *logarithm = logarithms.need(size());
        for (size_t row = 0; row < size(); row += stride)
            for (size_t c = 0; c < stride; c += LANES) {
                const Vec x = K::load(values.data + row + c), found = F::log(x < LEAST ? Vec{} + LEAST : x);
                K::store(logarithm + row + c, found);
                K::store(scores + row + c, found * K::load(own() + c));
            }
        return scores;
    }

    // From the gradient of scores in `to` to that of values, in place.
    void from_powers(T* to, T* to_exponents) {
        const size_t stride = program.last();
        for (size_t row = 0; row < size(); row += stride)
            for (size_t c = 0; c < stride; c += LANES) {
                const Vec x = K::load(values.data + row + c), to_score = K::load(to + row + c);
                K::add(to_exponents + c, to_score * K::load(logarithms.data + row + c));
                K::store(to + row + c, x < LEAST ? Vec{} : to_score * K::load(own() + c) / x);
            }
    }
};
