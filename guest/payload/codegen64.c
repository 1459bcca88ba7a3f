/*
 * A program that writes new code and runs it, over and over: as many functions as fit into 4 MiB,
 * in each pass others. "passes=N" on the command line; without it, enough to fill an emulator's
 * cache of translated code several times.
 */
#include "payload.h"

#define AREA          0x600000
#define AREA_END      0xa00000
#define FUNCTION_SIZE 16
#define PASSES        1

extern u32 multiboot_info;

/* mov $value, %eax; test %eax, %eax; js 1f; 1: ret: three blocks */
static void emit(u8 *at, u32 value)
{
	static const u8 rest[] = { 0x85, 0xc0, 0x78, 0x00, 0xc3 };

	at[0] = 0xb8;
	memcpy(at + 1, &value, 4);
	memcpy(at + 5, rest, sizeof(rest));
	barrier();
}

static u32 call(const void *at)
{
	u32 value;

	asm volatile("call *%1" : "=a"(value) : "r"(at) : "memory", "cc");
	return value;
}

/* The command line's number behind "passes=". */
static u64 passes(void)
{
	static const char name[] = "passes=";
	const u32 *info = (const u32 *)(u64)multiboot_info;
	const char *text = info[0] & BIT(2) ? (const char *)(u64)info[4] : "";
	u64 number = 0;

	for (; *text; text++) {
		if (memcmp(text, name, sizeof(name) - 1) != 0)
			continue;
		for (text += sizeof(name) - 1; *text >= '0' && *text <= '9'; text++)
			number = number * 10 + (u64)(*text - '0');
		break;
	}
	return number ? number : PASSES;
}

static bool pass(u32 number)
{
	bool all = true;

	for (u64 at = AREA; at < AREA_END; at += FUNCTION_SIZE) {
		u32 value = (u32)at * 2654435761u + number;

		emit((u8 *)at, value);
		all &= call((const void *)at) == value;
	}
	return all;
}

void payload(void)
{
	u64 count = passes();
	bool all = true;

	for (u64 number = 0; number < count && all; number++)
		all = pass((u32)number);
	check(all, "each new function is what runs");
}
