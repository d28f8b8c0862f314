// Index tables of a data set of binary images: which feature vectors its images have at all, and which pixels they
// come from. No feature value lives here.
//
// After `depth` convolutions a site's features depend on the pixels around it and, through constant channels and
// the border, on where it is. A *node* is one such neighbourhood, met anywhere in the data set; a *class* is the
// neighbourhood of a site of the empty image. What a node adds to its class comes from the nodes one layer below it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

constexpr int TAP_BITS = 7, LAST_TAP = (1 << TAP_BITS) - 1;  // of an edge, which is a node and a tap

struct Level {
    int32_t classes = 0;
    std::vector<int32_t> class_of_site;  // [area]
    std::vector<int32_t> children;       // [class][tap]: class one layer below, -1 outside the map
    int64_t nodes = 0;
    // Whether a node stands for all equal neighbourhoods of all images. Where every site is a class of its own, the last
    // level's are too seldom equal: there nodes are counted image after image, one for every active site.
    bool shared = true;
    std::vector<uint32_t> first;         // [node + 1]: where its record begins
    std::vector<uint32_t> record;        // the class it replaces, then its edges: node one layer below << TAP_BITS | tap
    std::vector<int64_t> start;          // [image + 1]
    std::vector<int32_t> node;           // [start[images]]: the nodes of every image, site by site; empty unless shared

    size_t bytes() const {
        return (class_of_site.size() + children.size() + first.size() + record.size() + node.size()) * sizeof(int32_t) +
               start.size() * sizeof(int64_t);
    }
};

struct Tables {
    int32_t images, height, width;
    std::vector<Level> level;      // 0: pixels, one node (lit); 1 .. depth
    std::vector<uint16_t> site;    // [start[images]] of the last level
    std::vector<uint64_t> active;  // [image][row]: bit x is set where the last level has a node

    // Images whose lit pixels lie on similar lines stand together: predicted together, they share most nodes.
    std::vector<int32_t> similar;  // [image]

    int area() const { return height * width; }

    size_t bytes() const {
        size_t sum = active.size() * sizeof(uint64_t) + site.size() * sizeof(uint16_t);
        for (const Level& of : level) sum += of.bytes();
        return sum;
    }

    bool is_active(int64_t image, int site) const {
        return active[image * height + site / width] >> (site % width) & 1;
    }
};

// For `depth` convolutions by kernels of `side` x `side`. `classes` [area] are the classes of the constant channels at
// every site. Throws std::bad_alloc.
Tables* build_tables(const uint8_t* pixels, int64_t images, int height, int width, int depth, int side,
                     const int32_t* classes);
