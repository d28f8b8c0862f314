// One instruction set's form of the compiled step: INSTRUCTION_SET names it, LANES_* are its vectors, TILE_ROWS its tiles.

namespace INSTRUCTION_SET {

#include "kernels.h"
#include "functions.h"
#include "background.h"
#include "forward.h"
#include "backward.h"
#include "maximum.h"
#include "sums.h"
#include "softmax.h"
#include "attention.h"
#include "pools.h"
#include "flatten.h"
#include "step.h"

template <class T, int LANES>
struct Variant : Runner<T> {
    Step<T, LANES, TILE_ROWS> step;

    explicit Variant(const Program& program) : step(program) {}
    double train(const DataSet<T>& data, const Parameters<T>& parameters, const T* targets,
                 const Steps& steps) override {
        return step.train(data, parameters, targets, steps);
    }
    void predict(const DataSet<T>& data, const Parameters<T>& parameters, const int64_t* order, int64_t count,
                 int64_t some, T* out) override {
        step.predict(data, parameters, order, count, some, out);
    }
};

Runner<float>* make_float(const Program& program) {
#if LANES_FLOAT > 8
    if (program.unit % LANES_FLOAT) return new Variant<float, 8>(program);
#endif
    return new Variant<float, LANES_FLOAT>(program);
}

Runner<double>* make_double(const Program& program) { return new Variant<double, LANES_DOUBLE>(program); }

}  // namespace INSTRUCTION_SET
