/* Real mode, and the way there and back: SDM 3A 10.9 and 21.1. */
#include "payload.h"

/* The code at 0x7000 in real mode: see realmode.S. Results at 0x6000. */
extern u8 real_code[], real_code_end[];

struct results {
	u16 magic;
	u16 wrap;      /* the word at ffff:0010 with the high memory area off the table */
	u16 int_flags; /* flags inside an interrupt */
	u16 int_ip;    /* what it pushed */
	u16 int_sp;
	u16 unreal;       /* a read beyond 64 KiB through a big FS */
	u16 limit_vector; /* what a read at ds:ffff of a word raised */
	u16 msw;
	u32 wide; /* 32-bit arithmetic */
	u16 call_ip;
	u16 divide;
	u16 push_sp;
	u16 popf_iopl;
	u16 pe_cs_base;
};

static struct results *const results = (struct results *)0x6000;

/* A GDT of its own for the way back. */
enum { CODE16 = SEL_FREE, DATA16 = SEL_FREE + 8 };

void run_real_mode(void);

void payload(void)
{
	gdt_set(CODE16, descriptor(0x7000, 0xffff, D_CODE));
	gdt_set(DATA16, descriptor(0, 0xffff, D_DATA));
	memset(results, 0, 0x100);
	memcpy((void *)0x7000, real_code, (size_t)(real_code_end - real_code));
	*(volatile u32 *)0x180000 = 0xbeef;
	run_real_mode();
	idt_load(256);
	check_equal(results->magic, 0x5ea1, "real mode was reached and left");
	check_equal(results->msw & 1, 0, "PE reads 0 there");
	check_equal(results->wide, 0x12345678 + 0x11111111, "32-bit operands in 16-bit code");
	check_equal(results->int_flags & FLAG_IF, 0, "INT clears IF");
	check_equal(results->int_sp, 6, "INT pushes three words");
	check_equal(results->int_ip, 1, "and the IP after it");
	check_equal(results->limit_vector, GP, "a word at offset 0xffff: vector 13");
	check_equal(results->divide, DE, "a divide error returns to its own instruction");
	check_equal(results->unreal, 0xbeef, "a limit loaded in protected mode stays in real mode");
	check_equal(results->push_sp, 0, "PUSH SP pushes the value before it");
	check_equal(results->popf_iopl, 0x3000, "POPF writes IOPL in real mode");
	check_equal(results->wrap, 0x1234, "segment FFFF reaches beyond 1 MiB");
}
