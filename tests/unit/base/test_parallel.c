/* Several parts at once: each is done once, however many threads there are. */
#include "test.h"

#include <stdatomic.h>

#include "base/parallel.h"

#define PARTS 1000u

struct sums {
    atomic_uint done[PARTS];
    unsigned written[PARTS]; /* each by one thread, read when all are done */
};

static void count(void *context, unsigned part)
{
    struct sums *sums = context;
    atomic_fetch_add(&sums->done[part], 1);
    sums->written[part] = part + 1;
}

static void test_each_part_once(void **state)
{
    const unsigned threads[] = {0, 1, 2, 7, PARALLEL_THREADS_MOST, 10 * PARALLEL_THREADS_MOST};
    const unsigned parts[] = {0, 1, 2, 5, PARTS};
    (void)state;
    for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
        for (size_t j = 0; j < sizeof(parts) / sizeof(parts[0]); j++) {
            static struct sums sums;
            memset(&sums, 0, sizeof(sums));
            parallel_run(threads[i], parts[j], count, &sums);
            for (unsigned part = 0; part < PARTS; part++) {
                assert_int_equal(atomic_load(&sums.done[part]), part < parts[j]);
                assert_int_equal(sums.written[part], part < parts[j] ? part + 1 : 0);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_part_once)};
    return cmocka_run_group_tests_name("parallel", tests, NULL, NULL);
}
