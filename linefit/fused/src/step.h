// Training steps and predictions: head, loss, Adam, and the loop over batches.

template <class T, int LANES, int ROWS>
struct Step : Flatten<T, LANES, ROWS> {
    typedef Flatten<T, LANES, ROWS> Base;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    using Base::layout, Base::program;

    Buffer<const T*> lefts, rights;
    Buffer<T> hidden, predictions, to_hidden, to_features, to_predictions, gradient, head;

    using Base::Base;

    // Predictions [image][2]; the features pass through `features_of`.
    const T* forward(const int64_t* indices, int64_t count, const Parameters<T>& parameters) {
        const int units = program.hidden;
        const T* theta = this->theta;
        this->convolutions(indices, count);
        T* h = hidden.need(count * units);
        if (program.pooling == POOL_FLATTEN) {
            this->forward_linear(parameters.large, theta + layout.head_bias, h);
        } else {
            const T* x = this->pool();
            const size_t stride = pitch();
            typename K::Panel panel{theta + layout.head, 1, program.features(), 0, size_t(units)};
            K::multiply(count, [=](int64_t r, int) { return x + r * stride; }, panel, units / LANES,
                        [](int v) { return size_t(v) * LANES; }, theta + layout.head_bias, h, units, this->complete,
                        this->scratch);
        }
        T* out = predictions.need(count * 2);
        for (int64_t i = 0; i < count * units; i += LANES) K::store(h + i, K::relu(K::load(h + i)));
        for (int64_t n = 0; n < count; ++n)
            for (int j = 0; j < 2; ++j)
                out[n * 2 + j] = Base::dot(h + n * units, theta + layout.output + j * units, units) +
                                 theta[layout.output_bias + j];
        return out;
    }

    // The loss of the batch that `forward` holds, a mean over images and both outputs, and its gradient with respect to
    // the predictions.
    double loss(const T* targets, const int64_t* indices, int32_t kind) {
        double sum = 0;
        const int64_t count = this->images;
        const T share = T(1) / T(2 * count);
        T* to = to_predictions.need(count * 2);
        for (int64_t i = 0; i < count * 2; ++i) {
            const T error = predictions.data[i] - targets[indices[i / 2] * 2 + i % 2];
            const T size = std::fabs(error), sign = T(error > 0) - T(error < 0);
            if (kind == LOSS_MSE) {
                sum += double(error) * double(error);
                to[i] = 2 * error * share;
            } else if (kind == LOSS_L1 || size > 1) {
                sum += double(size) - (kind == LOSS_L1 ? 0 : 0.5);
                to[i] = sign * share;
            } else {
                sum += 0.5 * double(error) * double(error);
                to[i] = error * share;
            }
        }
        return sum / double(2 * count);
    }

    // All gradients into `gradient`; a flatten net's large weight is updated at once, see `backward_linear`.
    template <class Update>
    void backward(const Parameters<T>& parameters, bool only_met, Update update) {
        const int units = program.hidden;
        const int64_t count = this->images;
        const T* theta = this->theta;
        T* to = gradient.zeros(layout.size);
        T* g = to_hidden.need(count * units);
        for (int64_t n = 0; n < count; ++n)
            for (int o = 0; o < units; o += LANES) {
                Vec h = K::load(hidden.data + n * units + o), sum = {};
                for (int j = 0; j < 2; ++j) {
                    T error = to_predictions.data[n * 2 + j];
                    sum += error * K::load(theta + layout.output + j * units + o);
                    K::add(to + layout.output + j * units + o, error * h);
                }
                sum = h > Vec{} ? sum : Vec{};
                K::store(g + n * units + o, sum);
                K::add(to + layout.head_bias + o, sum);
            }
        for (int64_t i = 0; i < count * 2; ++i) to[layout.output_bias + i % 2] += to_predictions.data[i];
        this->transpose_weights();
        if (program.pooling == POOL_FLATTEN) {
            this->backward_linear(g, parameters, only_met, update);
        } else {
            const T* x = this->features.data;
            head_gradient(x, g, count, to + layout.head);
            this->from_pool(x, features_gradient(g, count), to);
        }
        for (int l = program.depth - program.pools_maxima(); l > 0; --l) this->convolution(l, to);
    }

    // Values that an image's features take, with padding.
    size_t pitch() const { return size_t(program.parts()) * program.last(); }

    void head_gradient(const T* x, const T* g, int64_t count, T* to) {
        const T **left = lefts.need(count), **right = rights.need(count);
        for (int64_t n = 0; n < count; ++n) left[n] = x + n * pitch(), right[n] = g + n * program.hidden;
        K::accumulate(count, left, right, program.features(), program.hidden / LANES, to, program.hidden);
    }

    const T* features_gradient(const T* g, int64_t count) {
        const size_t stride = pitch(), units = program.hidden;
        T* by_unit = head.need(stride * units);
        Base::transpose(this->theta + layout.head, stride, units, by_unit);
        T* out = to_features.need(count * stride);
        typename K::Panel panel{by_unit, 1, int(units), 0, stride};
        K::multiply(count, [=](int64_t r, int) { return g + r * units; }, panel, int(stride / LANES),
                    [](int v) { return size_t(v) * LANES; }, nullptr, out, stride, this->complete, this->scratch);
        return out;
    }

    static Vec root(Vec value) {
        T lane[LANES];
        K::store(lane, value);
        for (int i = 0; i < LANES; ++i) lane[i] = std::sqrt(lane[i]);
        return K::load(lane);
    }

    double train(const DataSet<T>& data, const Parameters<T>& parameters, const T* targets, const Steps& steps) {
        this->bind(*data.tables, data.constants);
        this->trains = true;
        T* theta = parameters.theta;
        this->theta = theta;
        this->positions = parameters.positions;
        this->complete = !finite(theta, layout.size);
        const T keep = T(1 - steps.beta1), keep_square = T(steps.beta2), take_square = T(1 - steps.beta2);
        const T epsilon = T(steps.epsilon);
        double total = 0;
        for (int64_t s = 0; s < steps.count; ++s) {
            const int64_t begin = s ? steps.ends[s - 1] : 0, some = steps.ends[s] - begin;
            forward(steps.order + begin, some, parameters);
            total += loss(targets, steps.order + begin, steps.loss) * double(some);
            const double number = double(steps.done + s + 1), learning_rate = steps.learning_rate[s];
            const T rate = T(learning_rate / (1 - std::pow(steps.beta1, number)));
            const T scale = T(1 / std::sqrt(1 - std::pow(steps.beta2, number)));
            const T shrink = T(1 - learning_rate * steps.weight_decay);
            Vec odd = {};  // NaN once a parameter is not finite
            auto update = [&](T* weight, T* first, T* second, Vec g) {
                Vec m = K::load(first), v = K::load(second), w = shrink * K::load(weight);
                m += keep * (g - m);
                v = keep_square * v + take_square * g * g;
                w -= rate * m / (root(v) * scale + epsilon);
                odd += w - w;
                K::store(first, m), K::store(second, v), K::store(weight, w);
            };
            backward(parameters, shrink == 1, update);
            for (size_t i = 0; i < layout.size; i += LANES)
                update(theta + i, parameters.mean + i, parameters.square + i, K::load(gradient.data + i));
            if (K::sum(odd) != 0) this->complete = true;
        }
        return total;
    }

    static bool finite(const T* values, size_t count) {
        Vec odd = {};
        for (size_t i = 0; i < count; i += LANES) odd += K::load(values + i) - K::load(values + i);
        return K::sum(odd) == 0;
    }

    // Predictions [count][2] for images in this order, some at a time.
    void predict(const DataSet<T>& data, const Parameters<T>& parameters, const int64_t* order, int64_t count,
                 int64_t some, T* out) {
        this->bind(*data.tables, data.constants);
        this->trains = false;
        this->theta = parameters.theta;
        this->positions = parameters.positions;
        this->complete = !finite(this->theta, layout.size);
        for (int64_t begin = 0; begin < count; begin += some) {
            int64_t now = count - begin < some ? count - begin : some;
            const T* found = forward(order + begin, now, parameters);
            std::memcpy(out + begin * 2, found, now * 2 * sizeof(T));
        }
    }
};
