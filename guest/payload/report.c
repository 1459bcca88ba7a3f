/* Reporting on COM1, and the end. */
#include "payload.h"

#include <stdarg.h>

#define COM1       0x3f8
#define LINE_READY 0x20
#define DEBUG_EXIT 0x501

static unsigned nr_lines, nr_failures;

static void put(char c)
{
	if (c == '\n')
		put('\r');
	while (!(inb(COM1 + 5) & LINE_READY))
		pause();
	outb(COM1, (u8)c);
}

static void put_string(const char *s)
{
	while (*s)
		put(*s++);
}

static void put_hex(u64 value)
{
	int shift = 60;

	while (shift > 0 && !(value >> shift))
		shift -= 4;
	put_string("0x");
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}

static void put_decimal(u32 value)
{
	if (value >= 10)
		put_decimal(value / 10);
	put((char)('0' + value % 10));
}

/* %s, %u, %x (u32), %llx */
void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	for (; *format; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		switch (*++format) {
		case 's': put_string(va_arg(args, const char *)); break;
		case 'u': put_decimal(va_arg(args, u32)); break;
		case 'x': put_hex(va_arg(args, u32)); break;
		case 'l':
			put_hex(va_arg(args, unsigned long long));
			format += 2;
			break;
		default: put(*format);
		}
	}
	va_end(args);
}

void ok(const char *name)
{
	nr_lines++;
	print("ok %s\n", name);
}

void check(bool condition, const char *name)
{
	if (condition) {
		ok(name);
		return;
	}
	nr_lines++;
	nr_failures++;
	print("not ok %s\n", name);
}

void check_equal(u64 got, u64 expected, const char *name)
{
	if (got == expected) {
		ok(name);
		return;
	}
	nr_lines++;
	nr_failures++;
	print("not ok %s: got %llx, expected %llx\n", name, (unsigned long long)got,
		(unsigned long long)expected);
}

void skip(const char *name, const char *reason)
{
	nr_lines++;
	print("skip %s: %s\n", name, reason);
}

static void describe_trap(int vector)
{
	if (vector == NO_TRAP)
		print("no exception");
	else
		print("vector %u error %llx cr2 %llx at %llx", (u32)vector,
			(unsigned long long)last_trap.error, (unsigned long long)last_cr2,
			(unsigned long long)last_trap.rip);
}

static void fail_trap(int got, const char *name, const char *expected)
{
	nr_lines++;
	nr_failures++;
	print("not ok %s: got ", name);
	describe_trap(got);
	print(", expected %s", expected);
}

void check_trap(int got, int vector, word error, const char *name)
{
	if (got == vector && (vector == NO_TRAP || last_trap.error == error)) {
		ok(name);
		return;
	}
	fail_trap(got, name, "");
	if (vector == NO_TRAP)
		print("no exception\n");
	else
		print("vector %u error %llx\n", (u32)vector, (unsigned long long)error);
}

void check_page_fault(int got, word error, word address, const char *name)
{
	if (got == PF && last_trap.error == error && last_cr2 == address) {
		ok(name);
		return;
	}
	fail_trap(got, name, "a page fault ");
	print("error %llx cr2 %llx\n", (unsigned long long)error, (unsigned long long)address);
}

void end_report(void)
{
	print("end %u\n", nr_lines);
}

void finish(void)
{
	end_report();
	outl(DEBUG_EXIT, nr_failures > 0);
	for (;;)
		asm volatile("cli; hlt");
}

void *memset(void *to, int value, size_t size)
{
	void *at = to;

	asm volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
	void *at = to;

	asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size)::"memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const u8 *x = a, *y = b;

	for (; size > 0; size--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}
