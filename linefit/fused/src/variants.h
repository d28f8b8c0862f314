// The forms of the compiled step, one for each instruction set that a processor may have.
#pragma once
#include "program.h"
#include "tables.h"

template <class T>
struct DataSet {
    const Tables* tables;
    const T* constants;  // [class][channel]: what the net reads where no pixel is lit
};

// A net's program with its working memory.
template <class T>
struct Runner {
    virtual ~Runner() = default;
    // Parameters and moments are updated in place. Returns the sum over images of their batch's mean loss.
    virtual double train(const DataSet<T>& data, const Parameters<T>& parameters, const T* targets,
                         const Steps& steps) = 0;
    // Predictions [count][2], computed for `some` images at a time.
    virtual void predict(const DataSet<T>& data, const Parameters<T>& parameters, const int64_t* order, int64_t count,
                         int64_t some, T* out) = 0;
};

#define DECLARE_VARIANT(name)                    \
    namespace name {                             \
    Runner<float>* make_float(const Program&);   \
    Runner<double>* make_double(const Program&); \
    }

DECLARE_VARIANT(generic)
#if defined(__x86_64__)
DECLARE_VARIANT(avx2)
DECLARE_VARIANT(avx512)
#endif
