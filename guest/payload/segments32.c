/* Segment registers, limits and types in protected mode: SDM 3A 3.4, 5.2 to 5.8. */
#include "payload.h"

enum { A = SEL_FREE, B = SEL_FREE + 8, LDT = SEL_FREE + 16, C = SEL_FREE + 24 };

static u8 buffer[0x3000] __attribute__((aligned(4096)));

struct access {
	u32 selector;
	u32 offset;
};

static void load(void *access_)
{
	asm volatile("mov %w0, %%fs" ::"r"(((struct access *)access_)->selector) : "memory");
}

static void read1(void *access_)
{
	struct access *access = access_;

	asm volatile(
		"mov %w0, %%fs; movb %%fs:(%1), %%al" ::"r"(access->selector), "r"(access->offset)
		: "eax", "memory");
}

static void read4(void *access_)
{
	struct access *access = access_;

	asm volatile(
		"mov %w0, %%fs; movl %%fs:(%1), %%eax" ::"r"(access->selector), "r"(access->offset)
		: "eax", "memory");
}

static void write4(void *access_)
{
	struct access *access = access_;

	asm volatile(
		"mov %w0, %%fs; movl $0, %%fs:(%1)" ::"r"(access->selector), "r"(access->offset)
		: "memory");
}

static void load_ss(void *access_)
{
	asm volatile("mov %%ss, %%ecx; mov %w0, %%ss; mov %%ecx, %%ss" ::"r"(
		((struct access *)access_)->selector)
		     : "ecx", "memory");
}

static int try(void (*function)(void *), u32 selector, u32 offset)
{
	struct access access = { selector, offset };

	return attempt(function, &access);
}

static u32 fs_read(u32 offset)
{
	u32 value;

	asm volatile("movl %%fs:(%1), %0" : "=r"(value) : "r"(offset) : "memory");
	return value;
}

static void loading(void)
{
	u32 data = D_DATA | D_32, beyond = GDT_ENTRIES * 8;

	check_trap(try(load, 0, 0), NO_TRAP, 0, "loading the null selector");
	check_trap(try(load, 3, 0), NO_TRAP, 0, "loading the null selector with RPL 3");
	check_trap(try(read1, 0, 0), GP, 0, "using the null selector");
	check_trap(try(load, beyond, 0), GP, beyond, "a selector beyond the GDT");
	gdt_set(A, 0);
	check_trap(try(load, A, 0), GP, A, "an empty descriptor");
	gdt_set(A, descriptor(0, 0xfff, (data & ~D_PRESENT)));
	check_trap(try(load, A, 0), NP, A, "a segment that is not present");
	check_trap(try(load, SEL_TSS, 0), GP, SEL_TSS, "a system descriptor");
	gdt_set(A, descriptor(0, 0xfff, D_CODE_XO | D_32));
	check_trap(try(load, A, 0), GP, A, "execute-only code");
	gdt_set(A, descriptor((u32)buffer, 0xfff, D_CODE | D_32));
	check_trap(try(read4, A, 0), NO_TRAP, 0, "readable code: a read");
	check_trap(try(write4, A, 0), GP, 0, "readable code: a write");
	gdt_set(A, descriptor((u32)buffer, 0xfff, D_DATA_RO | D_32));
	check_trap(try(read4, A, 0), NO_TRAP, 0, "read-only data: a read");
	check_trap(try(write4, A, 0), GP, 0, "read-only data: a write");
	gdt_set(A, descriptor((u32)buffer, 0xfff, data));
	check_trap(try(load, A | 3, 0), GP, A, "RPL 3 on DPL 0");
	gdt_set(A, descriptor((u32)buffer, 0xfff, D_CODE | D_CONFORMING | D_32));
	check_trap(try(load, A | 3, 0), NO_TRAP, 0, "conforming readable code with any RPL");
	gdt_set(A, descriptor((u32)buffer, 0xfff, (data & ~1u)));
	check_trap(try(load, A, 0), NO_TRAP, 0, "a segment not yet accessed");
	check(gdt[A >> 3] & BIT(40), "loading sets the accessed bit");
}

static void limits(void)
{
	u32 data = D_DATA | D_32;

	gdt_set(A, descriptor((u32)buffer, 0xffe, data));
	check_trap(try(read1, A, 0xffe), NO_TRAP, 0, "the last byte");
	check_trap(try(read1, A, 0xfff), GP, 0, "the byte after it");
	check_trap(try(read4, A, 0xffb), NO_TRAP, 0, "the last four bytes");
	check_trap(try(read4, A, 0xffc), GP, 0, "four bytes over the limit");
	check_trap(try(write4, A, 0xffc), GP, 0, "four bytes over the limit, write");
	check_trap(
		try(read4, A, 0xfffffffe), GP, 0, "four bytes around the end of the address space");

	gdt_set(A, descriptor((u32)buffer, 0x1fff, data | D_PAGES));
	check_trap(try(read4, A, 0x1ffc), NO_TRAP, 0, "page granularity: inside");
	check_trap(try(read4, A, 0x1ffd), GP, 0, "page granularity: outside");

	gdt_set(A, descriptor((u32)buffer, 0xfff, data | D_DOWN));
	check_trap(try(read1, A, 0xfff), GP, 0, "expand-down: at the limit");
	check_trap(try(read1, A, 0x1000), NO_TRAP, 0, "expand-down: above it");
	check_trap(try(read4, A, 0xffe), GP, 0, "expand-down: across it");
	check_trap(try(read1, A, 0x20000), NO_TRAP, 0, "expand-down, B set: to 4 GiB");
	gdt_set(A, descriptor((u32)buffer, 0xfff, (D_DATA | D_DOWN)));
	check_trap(try(read1, A, 0x1800), NO_TRAP, 0, "expand-down, B clear: inside");
	check_trap(try(read1, A, 0x10000), GP, 0, "expand-down, B clear: above 64 KiB");
	check_trap(try(read4, A, 0xfffd), GP, 0, "expand-down, B clear: across 64 KiB");
}

static void bases(void)
{
	u32 expected = 0x11223344;

	memcpy(buffer + 0x123, &expected, 4);
	gdt_set(A, descriptor((u32)buffer + 0x100, 0xfff, D_DATA | D_32));
	asm volatile("mov %w0, %%fs" ::"r"(A));
	check_equal(fs_read(0x23), expected, "base and offset");
	/* The sum wraps at 4 GiB. */
	gdt_set(A, descriptor(0xfffff000, 0xffffffff, D_DATA | D_32 | D_PAGES));
	asm volatile("mov %w0, %%fs" ::"r"(A));
	check_equal(fs_read((u32)buffer + 0x1123), expected, "base and offset wrap at 4 GiB");
	/* The hidden part stays until the register is loaded again. */
	gdt_set(A, 0);
	check_equal(
		fs_read((u32)buffer + 0x1123), expected, "a changed descriptor has no effect yet");
	asm volatile("mov %w0, %%fs" ::"r"(0));
}

static void stack_segment(void)
{
	check_trap(try(load_ss, 0, 0), GP, 0, "SS: null");
	gdt_set(A, descriptor(0, 0xffffffff, D_DATA | D_32 | D_PAGES));
	check_trap(try(load_ss, A, 0), NO_TRAP, 0, "SS: data");
	check_trap(try(load_ss, A | 1, 0), GP, A, "SS: RPL is not CPL");
	gdt_set(A, descriptor(0, 0xffffffff, (D_DATA | D_32 | D_PAGES) & ~D_PRESENT));
	check_trap(try(load_ss, A, 0), SS, A, "SS: not present");
	gdt_set(A, descriptor(0, 0xffffffff, D_DATA_RO | D_32 | D_PAGES));
	check_trap(try(load_ss, A, 0), GP, A, "SS: read-only");
	gdt_set(A, descriptor(0, 0xffffffff, D_CODE | D_32 | D_PAGES));
	check_trap(try(load_ss, A, 0), GP, A, "SS: code");
	gdt_set(A, descriptor(0, 0xffffffff, D_DATA | D_DPL(3) | D_32 | D_PAGES));
	check_trap(try(load_ss, A, 0), GP, A, "SS: DPL is not CPL");
}

/* Ring 3 with stacks of ours. The code: push, then leave. */
static void USER_CODE __attribute__((naked)) user_push(void)
{
	asm("push %eax; int $0x40");
}

static void USER_CODE __attribute__((naked)) user_push_sp(void)
{
	asm("mov $0x12340000, %esp; push %eax; int $0x40");
}

static void USER_CODE __attribute__((naked)) user_by_ebp(void)
{
	asm("mov %esp, %ebp; mov (%ebp), %eax; int $0x40");
}

static void USER_CODE __attribute__((naked)) user_load_kernel_data(void)
{
	asm("mov $0x10, %eax; mov %eax, %fs; int $0x40");
}

static int with_stack(void (*code)(void), u64 stack, u32 esp)
{
	return attempt_iret(SEL_USER_CODE, (word)code, 0, gdt_set(A, stack) | 3, esp);
}

static void ring3_stacks(void)
{
	u32 base = (u32)user_stack;

	check_trap(with_stack(user_push, descriptor(base, 0xfff, D_DATA | D_DPL(3) | D_32), 0x1000),
		USER_EXIT, 0, "a push at the limit");
	check_trap(with_stack(user_push, descriptor(base, 0xfff, D_DATA | D_DPL(3) | D_32), 0x1001),
		SS, 0, "a push over the limit");
	check_trap(
		with_stack(user_by_ebp, descriptor(base, 0xfff, D_DATA | D_DPL(3) | D_32), 0xffd),
		SS, 0, "EBP over the limit");
	check_trap(with_stack(user_push,
			   descriptor(base - 0x1000, 0xfff, D_DATA | D_DPL(3) | D_32 | D_DOWN),
			   0x1004),
		USER_EXIT, 0, "expand-down: a push above the limit");
	check_trap(with_stack(user_push,
			   descriptor(base - 0x1000, 0xfff, D_DATA | D_DPL(3) | D_32 | D_DOWN),
			   0x1003),
		SS, 0, "expand-down: a push below it");
	/* B clear: SP wraps, the upper half of ESP stays. */
	check_trap(with_stack(user_push_sp, descriptor(base, 0xffff, D_DATA | D_DPL(3)), 0x100),
		USER_EXIT, 0, "a 16-bit stack");
	check_equal(last_trap.rsp, 0x1234fffc, "its ESP");
	check_trap(attempt_iret(SEL_USER_CODE, (word)user_load_kernel_data, 0, SEL_USER_DATA,
			   base + 0x1000),
		GP, SEL_DATA, "ring 3 loads a ring 0 segment");
}

static void iret_checks(void)
{
	u32 esp = (u32)user_stack + 0x1000;

	check_trap(attempt_iret(3, (word)user_push, 0, SEL_USER_DATA, esp), GP, 0,
		"IRET to a null CS");
	check_trap(attempt_iret(SEL_USER_DATA, (word)user_push, 0, SEL_USER_DATA, esp), GP,
		SEL_USER_DATA & ~3, "IRET to a data segment");
	gdt_set(A, descriptor(0, 0xffffffff, (D_CODE | D_DPL(3) | D_32 | D_PAGES) & ~D_PRESENT));
	check_trap(attempt_iret(A | 3, (word)user_push, 0, SEL_USER_DATA, esp), NP, A,
		"IRET to a code segment that is not present");
	check_trap(attempt_iret(SEL_USER_CODE, (word)user_push, 0, 3, esp), GP, 0,
		"IRET to a null SS");
	check_trap(attempt_iret(SEL_USER_CODE, (word)user_push, 0, SEL_DATA | 3, esp), GP, SEL_DATA,
		"IRET to an SS of ring 0");
	gdt_set(A, descriptor(0, 0xffffffff, (D_DATA | D_DPL(3) | D_32 | D_PAGES) & ~D_PRESENT));
	check_trap(attempt_iret(SEL_USER_CODE, (word)user_push, 0, A | 3, esp), SS, A,
		"IRET to an SS that is not present");
	gdt_set(A, descriptor(0, 0xffff, D_CODE | D_DPL(3) | D_32));
	check_trap(attempt_iret(A | 3, (word)user_push, 0, SEL_USER_DATA, esp), GP, 0,
		"IRET beyond the limit of CS");
}

struct far_pointer {
	u32 offset;
	u16 selector;
} __attribute__((packed));

static void far_jump(void *to)
{
	asm volatile("ljmp *(%0)" ::"r"(to) : "memory");
}

static int jump_to(u32 selector, u32 offset)
{
	struct far_pointer to = { offset, (u16)selector };

	return attempt(far_jump, &to);
}

static void __attribute__((naked, used)) far_return(void)
{
	asm("lret");
}

static void __attribute__((naked, used)) landing(void)
{
	asm("int $0x41");
}

static void far_transfers(void)
{
	u32 cs;

	check_trap(jump_to(0, 0), GP, 0, "far jump: null");
	check_trap(jump_to(SEL_DATA, 0), GP, SEL_DATA, "far jump: data");
	gdt_set(A, descriptor(0, 0xffffffff, (D_CODE | D_32 | D_PAGES) & ~D_PRESENT));
	check_trap(jump_to(A, (u32)landing), NP, A, "far jump: not present");
	gdt_set(A, descriptor(0, 0xffffffff, D_CODE | D_DPL(3) | D_32 | D_PAGES));
	check_trap(jump_to(A, (u32)landing), GP, A, "far jump: to an outer ring");
	gdt_set(A, descriptor(0, 0xffffffff, D_CODE | D_32 | D_PAGES));
	check_trap(jump_to(A | 3, (u32)landing), GP, A, "far jump: RPL is higher than CPL");
	gdt_set(A, descriptor(0, 0xffff, D_CODE | D_32));
	check_trap(jump_to(A, (u32)landing), GP, 0, "far jump: beyond the limit");
	gdt_set(A, descriptor((u32)landing - 0x10, 0x11, D_CODE | D_32));
	check_trap(jump_to(A, 0x10), 0x41, 0, "far jump: base and exact limit");
	check_equal(last_trap.cs, A, "CS after it");
	gdt_set(A, descriptor((u32)landing - 0x10, 0x10, D_CODE | D_32));
	check_trap(jump_to(A, 0x10), GP, 0, "an instruction over the limit of CS");
	gdt_set(A, descriptor(0, 0xffffffff, D_CODE | D_CONFORMING | D_32 | D_PAGES));
	check_trap(jump_to(A | 3, (u32)landing), 0x41, 0, "far jump: conforming, any RPL");
	check_equal(last_trap.cs, A, "CPL stays");

	gdt_set(A, descriptor(0x1000, 0xffffffff, D_CODE | D_32 | D_PAGES));
	asm volatile("lcall *%1; mov %%cs, %0"
		     : "=r"(cs)
		     : "m"((struct far_pointer){ (u32)far_return - 0x1000, A })
		     : "memory");
	check_equal(cs, SEL_CODE, "far call and return with another base");
}

static void ldt_checks(void)
{
	static u64 ldt[4] __attribute__((aligned(16)));

	asm volatile("lldt %w0" ::"r"(0));
	check_trap(try(load, 0xc, 0), GP, 0xc, "a selector of the LDT without one");
	gdt_set(LDT, descriptor((u32)ldt, sizeof(ldt) - 1, D_PRESENT | 2));
	asm volatile("lldt %w0" ::"r"(LDT));
	ldt[1] = descriptor((u32)buffer, 0xfff, D_DATA | D_32);
	check_trap(try(read4, 0xc, 0), NO_TRAP, 0, "a segment of the LDT");
	check_trap(try(load, 0x24, 0), GP, 0x24, "a selector beyond the LDT");
	ldt[1] = descriptor((u32)buffer, 0xfff, (D_DATA | D_32) & ~D_PRESENT);
	check_trap(try(load, 0xc, 0), NP, 0xc, "a segment of the LDT that is not present");
	asm volatile("lldt %w0" ::"r"(0));
	check_trap(try(load, 0xc, 0), GP, 0xc, "after LLDT of the null selector");
}

static void load_ldt(void *access_)
{
	asm volatile("lldt %w0" ::"r"(((struct access *)access_)->selector));
}

static void load_tr(void *access_)
{
	asm volatile("ltr %w0" ::"r"(((struct access *)access_)->selector));
}

static void system_registers(void)
{
	check_trap(try(load_ldt, SEL_DATA, 0), GP, SEL_DATA, "LLDT of a data segment");
	gdt_set(LDT, descriptor(0, 0xfff, 2));
	check_trap(try(load_ldt, LDT, 0), NP, LDT, "LLDT of one that is not present");
	check_trap(try(load_tr, SEL_TSS, 0), GP, SEL_TSS, "LTR of a busy TSS");
	check_trap(try(load_tr, 0, 0), GP, 0, "LTR of the null selector");
	check_trap(try(load_tr, SEL_DATA, 0), GP, SEL_DATA, "LTR of a data segment");
	gdt_set(C, descriptor(0, 0x67, 9));
	check_trap(try(load_tr, C, 0), NP, C, "LTR of one that is not present");
}

static bool lar(u32 selector, u32 *rights)
{
	bool zf;

	asm volatile("lar %2, %0" : "+r"(*rights), "=@ccz"(zf) : "r"(selector));
	return zf;
}

static bool lsl(u32 selector, u32 *limit)
{
	bool zf;

	asm volatile("lsl %2, %0" : "+r"(*limit), "=@ccz"(zf) : "r"(selector));
	return zf;
}

static bool verify(u32 selector, bool write)
{
	bool zf;

	if (write)
		asm volatile("verw %w1" : "=@ccz"(zf) : "r"(selector));
	else
		asm volatile("verr %w1" : "=@ccz"(zf) : "r"(selector));
	return zf;
}

static void questions(void)
{
	u32 value = 0;

	gdt_set(A, descriptor(0, 0x12fff, D_DATA | D_32 | D_PAGES));
	check(lar(A, &value), "LAR of data");
	check_equal(value, 0x00c09300, "its rights");
	check(lsl(A, &value), "LSL of data");
	check_equal(value, 0x12fff, "its limit in bytes");
	check(lsl(SEL_TSS, &value), "LSL of a TSS");
	check_equal(value, sizeof(tss) - 1, "its limit");
	value = 77;
	check(!lar(0, &value) && value == 77, "LAR of null");
	check(!lar(A | 3, &value), "LAR with RPL 3");
	check(!lsl(GDT_ENTRIES * 8, &value), "LSL beyond the GDT");
	gdt_set(A, descriptor(0, 0, D_PRESENT | GATE_INT));
	check(!lar(A, &value), "LAR of an interrupt gate");
	gdt_set(A, descriptor(0, 0, D_PRESENT | GATE_CALL));
	check(lar(A, &value), "LAR of a call gate");
	check(!lsl(A, &value), "LSL of a call gate");
	gdt_set(A, descriptor(0, 0xfff, D_DATA_RO));
	check(verify(A, false) && !verify(A, true), "VERR and VERW of read-only data");
	gdt_set(A, descriptor(0, 0xfff, D_CODE_XO));
	check(!verify(A, false) && !verify(A, true), "VERR and VERW of execute-only code");
	gdt_set(A, descriptor(0, 0xfff, D_CODE | D_CONFORMING));
	check(verify(A | 3, false), "VERR of conforming code, RPL 3");
	check(!verify(SEL_TSS, false) && !verify(0, true), "VERR and VERW of what is no segment");
}

void payload(void)
{
	loading();
	limits();
	bases();
	stack_segment();
	ring3_stacks();
	iret_checks();
	far_transfers();
	ldt_checks();
	system_registers();
	questions();
}
