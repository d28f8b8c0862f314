// The library as Python's ctypes calls it. Functions that can run out of memory return null or a non-zero number.
#include <cstring>
#include <memory>
#include <new>

#include "program.h"
#include "tables.h"
#include "variants.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {

struct Variant {
    const char* name;
    bool supported;
    Runner<float>* (*make_float)(const Program&);
    Runner<double>* (*make_double)(const Program&);
};

// Best first.
const Variant* variants() {
    static const Variant all[] = {
#if defined(__x86_64__)
        {"avx512",
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"),
         avx512::make_float, avx512::make_double},
        {"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), avx2::make_float, avx2::make_double},
#endif
        {"generic", true, generic::make_float, generic::make_double},
        {nullptr, false, nullptr, nullptr},
    };
    return all;
}

Runner<float>* make(const Variant& variant, const Program& program, float) { return variant.make_float(program); }
Runner<double>* make(const Variant& variant, const Program& program, double) { return variant.make_double(program); }

template <class Function>
int guarded(Function function) {
    try {
        function();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

}  // namespace

// The name of the k-th instruction set that this processor supports, best first; null after the last.
API const char* linefit_instruction_set(int k) {
    for (const Variant* variant = variants(); variant->name; ++variant)
        if (variant->supported && k-- == 0) return variant->name;
    return nullptr;
}

API int64_t linefit_layout_size(const Program* program) { return int64_t(Layout(*program).size); }

API Tables* linefit_tables(const uint8_t* pixels, int64_t images, int32_t height, int32_t width, int32_t depth,
                           int32_t side, const int32_t* classes) {
    Tables* tables = nullptr;
    guarded([&] { tables = build_tables(pixels, images, height, width, depth, side, classes); });
    return tables;
}

// The images [images] in an order in which similar ones stand together.
API const int32_t* linefit_similar(const Tables* tables) { return tables->similar.data(); }

API int64_t linefit_tables_bytes(const Tables* tables) { return int64_t(tables->bytes()); }

API void linefit_free_tables(Tables* tables) { delete tables; }

// Null for an instruction set that is not supported, and where memory ends.
#define RUNNER(T)                                                                                                     \
    API Runner<T>* linefit_runner_##T(const char* instruction_set, const Program* program) {                          \
        Runner<T>* runner = nullptr;                                                                                  \
        guarded([&] {                                                                                                 \
            for (const Variant* variant = variants(); variant->name; ++variant)                                       \
                if (variant->supported && !std::strcmp(variant->name, instruction_set))                               \
                    runner = make(*variant, *program, T());                                                           \
        });                                                                                                           \
        return runner;                                                                                                \
    }                                                                                                                 \
    API void linefit_free_runner_##T(Runner<T>* runner) { delete runner; }                                            \
    API int linefit_train_##T(Runner<T>* runner, const Tables* tables, const T* constants,                            \
                              const Parameters<T>* parameters, const T* targets, const Steps* steps, double* total) { \
        return guarded([&] { *total = runner->train({tables, constants}, *parameters, targets, *steps); });           \
    }                                                                                                                 \
    API int linefit_predict_##T(Runner<T>* runner, const Tables* tables, const T* constants,                          \
                                const Parameters<T>* parameters, const int64_t* order, int64_t count, int64_t some,   \
                                T* out) {                                                                             \
        return guarded([&] { runner->predict({tables, constants}, *parameters, order, count, some, out); });          \
    }

RUNNER(float)
RUNNER(double)
