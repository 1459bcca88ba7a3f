/* Debug registers: SDM 3B 18.2, 18.3. */
#include "payload.h"

#define DR6_CLEAR 0xffff0ff0ull
#define DR7_CLEAR 0x400ull
#define GD        BIT(13)
#define L(n)      BIT(2 * (n))
#define G(n)      BIT(2 * (n) + 1)
#define RW(n, v)  ((u64)(v) << (16 + 4 * (n)))
#define LEN(n, v) ((u64)(v) << (18 + 4 * (n)))
enum { EXECUTE, WRITE, IO, ACCESS };
enum { LEN1, LEN2, LEN8, LEN4 };

static u64 watched[4] __attribute__((aligned(32)));

static struct {
	unsigned count;
	word rip, dr6;
} seen;

static void keep(struct trap *trap)
{
	seen.count++;
	seen.rip = trap->rip;
	seen.dr6 = read_dr6();
	write_dr6(DR6_CLEAR);
}

static void keep_and_resume(struct trap *trap)
{
	keep(trap);
	trap->rflags |= FLAG_RF;
}

static void arm(word address, u64 dr7)
{
	memset(&seen, 0, sizeof(seen));
	write_dr6(DR6_CLEAR);
	write_dr0(address);
	write_dr7(DR7_CLEAR | dr7);
}

static void disarm(void)
{
	write_dr7(DR7_CLEAR);
}

static void write4(word address)
{
	asm volatile("movl $1, (%0)" ::"r"(address) : "memory");
}

static void read4(word address)
{
	asm volatile("movl (%0), %%eax" ::"r"(address) : "eax", "memory");
}

static void registers(void)
{
	write_dr0(0x123456789abc);
	write_dr3(0xffff800000000001);
	check_equal(read_dr0(), 0x123456789abc, "DR0");
	check_equal(read_dr3(), 0xffff800000000001, "DR3");
	write_dr6(0);
	check_equal(read_dr6(), 0xffff0ff0, "DR6: bits that read 1");
	write_dr7(0);
	check_equal(read_dr7(), 0x400, "DR7: the bit that reads 1");
	write_dr0(0);
	write_dr3(0);
}

static void data(void)
{
	word at = (word)watched;

	set_hook(DB, keep);
	arm(at + 4, L(0) | RW(0, WRITE) | LEN(0, LEN4));
	write4(at + 4);
	check_equal(seen.count, 1, "a write is watched");
	check_equal(seen.dr6 & 0xe00f, 1, "DR6.B0");
	read4(at + 4);
	check_equal(seen.count, 1, "a read is not");
	write4(at);
	write4(at + 8);
	check_equal(seen.count, 1, "nor are the neighbours");
	write4(at + 1);
	check_equal(seen.count, 2, "an overlap is");
	asm volatile("movb $1, 7(%0)" ::"r"(at) : "memory");
	check_equal(seen.count, 3, "so is one byte of it");

	arm(at + 4, L(0) | RW(0, ACCESS) | LEN(0, LEN1));
	read4(at + 4);
	write4(at + 1);
	check_equal(seen.count, 2, "reads and writes of one byte");
	read4(at + 5);
	check_equal(seen.count, 2, "not of the next");
	arm(at + 8, G(0) | RW(0, WRITE) | LEN(0, LEN8));
	asm volatile("movq $0, 8(%0)" ::"r"(at) : "memory");
	write4(at + 12);
	check_equal(seen.count, 2, "eight bytes, globally enabled");
	/* Lower address bits are ignored as the length says. */
	arm(at + 5, L(0) | RW(0, WRITE) | LEN(0, LEN2));
	asm volatile("movb $1, 4(%0)" ::"r"(at) : "memory");
	check_equal(seen.count, 1, "a two-byte watch is aligned");
	arm(at, RW(0, WRITE) | LEN(0, LEN4));
	write4(at);
	check_equal(seen.count, 0, "one that is not enabled");
	disarm();
}

static void after_the_write(void)
{
	extern char after_watch[] asm("after_watch");
	static u8 stack[4096] __attribute__((aligned(16)));
	word at = (word)watched;

	arm(at, L(0) | RW(0, WRITE) | LEN(0, LEN4));
	watched[0] = 0;
	memset(&seen, 0, sizeof(seen));
	asm volatile("movl $77, (%0); after_watch: nop" ::"r"(at) : "memory");
	check_equal(seen.rip, (word)after_watch, "data breakpoints are traps");
	check_equal(*(u32 *)watched, 77, "the write has happened");
	/* A push is a write, too. */
	arm((word)stack + sizeof(stack) - 8, L(0) | RW(0, WRITE) | LEN(0, LEN8));
	asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %%rax; mov %%rbx, %%rsp" ::"r"(
		stack + sizeof(stack))
		     : "rbx", "memory");
	disarm();
	check_equal(seen.count, 1, "a push is watched");
}

static void execution(void)
{
	extern char break_here[] asm("break_here");
	static unsigned passed;

	set_hook(DB, keep_and_resume);
	arm((word)break_here, L(0));
	passed = 0;
	asm volatile("nop; break_here: incl %0" : "+m"(passed));
	check_equal(seen.count, 1, "an instruction breakpoint");
	check_equal(seen.rip, (word)break_here, "is a fault");
	check_equal(seen.dr6 & 0xe00f, 1, "DR6.B0");
	check_equal(passed, 1, "RF lets the instruction run");

	arm((word)break_here + 1, L(0));
	asm volatile("nop");
	check_equal(seen.count, 0, "only the first byte counts");
	disarm();
}

static void mov_to_dr(void *unused)
{
	(void)unused;
	write_dr7(DR7_CLEAR);
}

static void mov_from_dr4(void *unused)
{
	(void)unused;
	asm volatile("mov %%db4, %%rax" ::: "rax");
}

static void set_dr6_high(void *unused)
{
	(void)unused;
	write_dr6(BIT(32));
}

static void general_detect(void)
{
	set_hook(DB, NULL);
	write_dr6(DR6_CLEAR);
	write_dr7(DR7_CLEAR | GD);
	check_trap(attempt(mov_to_dr, NULL), DB, 0, "DR7.GD: MOV to a debug register");
	check(last_dr6 & BIT(13), "DR6.BD");
	check(!(read_dr7() & GD), "GD is cleared on the way in");
	write_dr7(DR7_CLEAR);
	check_trap(attempt(mov_from_dr4, NULL), NO_TRAP, 0, "DR4 is DR6 without CR4.DE");
	write_cr4(read_cr4() | CR4_DE);
	check_trap(attempt(mov_from_dr4, NULL), UD, 0, "DR4 with CR4.DE");
	check_trap(attempt(set_dr6_high, NULL), GP, 0, "DR6: the upper half");
}

static void ports(void)
{
	set_hook(DB, keep);
	write_cr4(read_cr4() | CR4_DE);
	arm(0x80, L(0) | RW(0, IO) | LEN(0, LEN1));
	outb(0x80, 1);
	check_equal(seen.count, 1, "an I/O breakpoint: OUT");
	inb(0x80);
	check_equal(seen.count, 2, "an I/O breakpoint: IN");
	inb(0x81);
	check_equal(seen.count, 2, "not of the next port");
	disarm();
	write_cr4(read_cr4() & ~CR4_DE);
}

static void several(void)
{
	word at = (word)watched;

	set_hook(DB, keep);
	arm(at, 0);
	write_dr1(at);
	write_dr2(at + 4);
	write_dr7(DR7_CLEAR | L(0) | RW(0, WRITE) | LEN(0, LEN4) | L(1) | RW(1, ACCESS) |
		  LEN(1, LEN4) | L(2) | RW(2, WRITE) | LEN(2, LEN4));
	write4(at);
	check_equal(seen.count, 1, "two that match: one exception");
	check_equal(seen.dr6 & 7, 3, "and both bits");
	/* A step and a match in one. */
	memset(&seen, 0, sizeof(seen));
	asm volatile("pushf; orl $0x100, (%%rsp); popf; movl $1, (%0);"
		     "pushf; andl $~0x100, (%%rsp); popf" ::"r"(at + 4)
		     : "memory", "cc");
	disarm();
	check(seen.count >= 1, "a step with a match");
}

static void rep_movs(void)
{
	static u32 from[4];
	word at = (word)watched, source = (word)from, count = 4;

	set_hook(DB, keep);
	arm(at + 4, L(0) | RW(0, WRITE) | LEN(0, LEN4));
	asm volatile("rep movsl" : "+D"(at), "+S"(source), "+c"(count)::"memory");
	disarm();
	check_equal(seen.count, 1, "a watched element of REP MOVS");
}

void payload(void)
{
	registers();
	data();
	after_the_write();
	execution();
	general_detect();
	ports();
	several();
	rep_movs();
}
