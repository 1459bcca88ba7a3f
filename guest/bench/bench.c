/*
 * The guest benchmark: one row for each kind of work, the same binary natively and in a guest.
 *
 *	bench [SECONDS-PER-ROW [ROW...]]
 *	bench --time NAME COMMAND...	the command's runs per second, its output dropped
 *
 * Prints "row NAME RATE UNIT" lines; greater is faster. Each row repeats a fixed piece of work
 *until its time is over, and every result is used, so that no compiler can drop the work.
 */
#include "program.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

/* Deterministic pseudo-random numbers: xorshift64. */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Each piece returns how many units of work it did. */

static double integer_loop(void)
{
	uint64_t a = 1, b = 2;
	const unsigned rounds = 1000000;

	for (unsigned i = 0; i < rounds; i++) {
		a = a * 3 + (b ^ i);
		b = (b << 5 | b >> 59) - a;
	}
	sink = a + b;
	return rounds;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double sort(void)
{
	enum { N = 20000 };
	static uint32_t values[N];
	uint64_t state = 88172645463325252u;

	for (int i = 0; i < N; i++)
		values[i] = (uint32_t)random_next(&state);
	qsort(values, N, sizeof(values[0]), compare_u32);
	sink = values[N / 2];
	return N;
}

static unsigned calls_made;

static __attribute__((noinline)) unsigned fibonacci(unsigned n)
{
	calls_made++;
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static double calls(void)
{
	calls_made = 0;
	sink = fibonacci(22);
	return calls_made;
}

static __attribute__((noinline)) uint64_t op_add(uint64_t v)
{
	return v + 7;
}
static __attribute__((noinline)) uint64_t op_xor(uint64_t v)
{
	return v ^ 0x55;
}
static __attribute__((noinline)) uint64_t op_shift(uint64_t v)
{
	return v << 1 | v >> 63;
}
static __attribute__((noinline)) uint64_t op_subtract(uint64_t v)
{
	return v - 3;
}

static double indirect_calls(void)
{
	static uint64_t (*volatile const ops[])(
		uint64_t) = { op_add, op_xor, op_shift, op_subtract };
	const unsigned rounds = 300000;
	uint64_t v = 1;

	for (unsigned i = 0; i < rounds; i++)
		v = ops[(v ^ i) & 3](v);
	sink = v;
	return rounds;
}

static double floating_point(void)
{
	enum { N = 64 };
	static double a[N][N], b[N][N], c[N][N];

	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			a[i][j] = i + j * 0.5;
			b[i][j] = i - j * 0.25;
		}
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			double sum = 0;

			for (int k = 0; k < N; k++)
				sum += a[i][k] * b[k][j];
			c[i][j] = sum;
		}
	sink = (uint64_t)c[3][5];
	return 2.0 * N * N * N;
}

/* Integers in vectors, as codecs and hashes use them: SSE2. */
static double simd(void)
{
	typedef uint32_t vector __attribute__((vector_size(16)));
	vector a = { 1, 2, 3, 4 }, b = { 5, 6, 7, 8 }, c = { 9, 10, 11, 12 };
	const unsigned rounds = 500000;

	for (unsigned i = 0; i < rounds; i++) {
		a += b ^ c;
		b = (b << 7 | b >> 25) + a;
		c = (c & a) - (b >> 3);
	}
	sink = a[0] + b[1] + c[2];
	return rounds * 36.0;
}

static double x87(void)
{
	const unsigned rounds = 100000;
	volatile long double start = 1.0L;
	long double v = start;

	for (unsigned i = 0; i < rounds; i++)
		v = v * 1.0000001L + 0.5L;
	sink = (uint64_t)v;
	return 2.0 * rounds;
}

static double copy(void)
{
	enum { SIZE = 8 << 20 };
	static char from[SIZE], to[SIZE];

	memset(from, (int)sink, SIZE);
	memcpy(to, from, SIZE);
	__asm__ volatile("" ::"r"(to) : "memory");
	sink = (uint64_t)to[77];
	return 2.0 * SIZE;
}

static double pointer_chase(void)
{
	enum { N = 1 << 16 };
	static uint32_t next[N];
	uint64_t state = 1234567;
	uint32_t at = 0;

	if (next[0] == next[1]) {
		for (uint32_t i = 0; i < N; i++)
			next[i] = i;
		/* Sattolo's shuffle: one cycle through all. */
		for (uint32_t i = N - 1; i > 0; i--) {
			uint32_t j = (uint32_t)(random_next(&state) % i), other = next[i];

			next[i] = next[j];
			next[j] = other;
		}
	}
	for (int i = 0; i < 200000; i++)
		at = next[at];
	sink = at;
	return 200000;
}

static double system_calls(void)
{
	const int rounds = 10000;

	for (int i = 0; i < rounds; i++)
		sink += (uint64_t)syscall(SYS_getppid);
	return rounds;
}

static double page_faults(void)
{
	enum { PAGES = 1024 };
	char *memory = mmap(
		NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return 0;
	madvise(memory, PAGES * 4096, MADV_NOHUGEPAGE);
	for (int i = 0; i < PAGES; i++)
		memory[i * 4096] = 1;
	munmap(memory, PAGES * 4096);
	return PAGES;
}

static double fork_exit(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	waitpid(child, NULL, 0);
	return 1;
}

static double exec_self(void)
{
	pid_t child = fork();

	if (child == 0) {
		execl("/proc/self/exe", "bench", "--nothing", (char *)NULL);
		_exit(1);
	}
	waitpid(child, NULL, 0);
	return 1;
}

static double pipes(void)
{
	const int rounds = 500;
	int there[2], back[2];
	char byte = 'x';
	pid_t child;

	if (pipe(there) < 0 || pipe(back) < 0)
		return 0;
	child = fork();
	if (child == 0) {
		for (int i = 0; i < rounds; i++)
			if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (int i = 0; i < rounds; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			break;
	waitpid(child, NULL, 0);
	close(there[0]);
	close(there[1]);
	close(back[0]);
	close(back[1]);
	return rounds;
}

static void *thread_work(void *context)
{
	uint64_t state = (uint64_t)(uintptr_t)context + 99991, sum = 0;

	for (unsigned i = 0; i < 2000000; i++)
		sum += random_next(&state);
	sink = sum;
	return NULL;
}

static double one_thread(void)
{
	thread_work((void *)1);
	return 2e6;
}

static double two_threads(void)
{
	pthread_t other;

	if (pthread_create(&other, NULL, thread_work, (void *)1))
		return 0;
	thread_work((void *)2);
	pthread_join(other, NULL);
	return 4e6;
}

static const struct row {
	const char *name;
	double (*piece)(void);
	double scale;
	const char *unit;
} rows[] = {
	{ "integer_loop", integer_loop, 1e-6, "Mit/s" },
	{ "sort", sort, 1e-3, "Kelements/s" },
	{ "calls", calls, 1e-6, "Mcalls/s" },
	{ "indirect_calls", indirect_calls, 1e-6, "Mcalls/s" },
	{ "floating_point", floating_point, 1e-6, "MFLOP/s" },
	{ "simd", simd, 1e-6, "Mop/s" },
	{ "x87", x87, 1e-6, "MFLOP/s" },
	{ "memcpy", copy, 1e-6, "MB/s" },
	{ "pointer_chase", pointer_chase, 1e-6, "Mloads/s" },
	{ "system_calls", system_calls, 1e-3, "Kcalls/s" },
	{ "page_faults", page_faults, 1e-3, "Kfaults/s" },
	{ "fork", fork_exit, 1, "forks/s" },
	{ "exec", exec_self, 1, "execs/s" },
	{ "pipes", pipes, 1e-3, "Kround-trips/s" },
	{ "one_thread", one_thread, 1e-6, "Mit/s" },
	{ "two_threads", two_threads, 1e-6, "Mit/s" },
};

static int is_wanted(const char *name, int argc, char **argv)
{
	if (argc <= 2)
		return 1;
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return 1;
	return 0;
}

static int time_command(const char *name, char **command)
{
	double start = now();
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (!freopen("/dev/null", "w", stdout))
			_exit(127);
		execvp(command[0], command);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
		return 1;
	printf("row %s %.4g 1/s\n", name, 1 / (now() - start));
	return 0;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 0.5;

	if (argc > 1 && strcmp(argv[1], "--nothing") == 0)
		return 0;
	if (argc > 3 && strcmp(argv[1], "--time") == 0)
		return time_command(argv[2], argv + 3);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		double start, work = 0, elapsed = 0;

		if (!is_wanted(row->name, argc, argv))
			continue;
		row->piece();
		start = now();
		do {
			work += row->piece();
			elapsed = now() - start;
		} while (elapsed < seconds);
		printf("row %s %.4g %s\n", row->name, work / elapsed * row->scale, row->unit);
	}
	return 0;
}
