/* Interrupts, gates, far transfers and compatibility mode in long mode: SDM 3A 5.8.3, 6.14. */
#include "payload.h"

enum { G = SEL_FREE, S = SEL_FREE + 16, C16 = SEL_FREE + 24, LDT = SEL_FREE + 32 };

static struct trap seen;
static word frame_at;

static void keep(struct trap *trap)
{
	seen = *trap;
	frame_at = (word)trap;
}

static word stub(int vector)
{
	return (word)trap_stubs + 16 * (word)vector;
}

static void int50(void *unused)
{
	(void)unused;
	asm volatile("int $0x50");
}

static void stacks(void)
{
	word sp;

	set_hook(0x50, keep);
	for (word shift = 0; shift < 16; shift += 8) {
		asm volatile("mov %%rsp, %0; sub %1, %%rsp; int $0x50; add %1, %%rsp"
			     : "=&r"(sp)
			     : "r"(shift)
			     : "memory");
		check_equal(seen.rsp, sp - shift, "the frame has RSP as it was");
		check_equal((frame_at + sizeof(struct trap)) % 16, 0,
			"the frame is aligned to 16 bytes");
		check_equal(seen.ss, SEL_DATA, "and has SS without a change of ring");
	}
	idt_set(0x50, stub(0x50), SEL_CODE, GATE_INT, 0, 1);
	asm volatile("int $0x50" ::: "memory");
	check_equal(frame_at + sizeof(struct trap), (word)ist_stack + sizeof(ist_stack),
		"IST: the frame is on its stack");
	tss.ist[2] = 0x900000000000;
	idt_set(0x50, stub(0x50), SEL_CODE, GATE_INT, 0, 3);
	check_trap(attempt(int50, NULL), SS, 0, "IST: a non-canonical stack");
	idt_set(0x50, stub(0x50), SEL_CODE, GATE_INT, 0, 0);
	set_hook(0x50, NULL);
}

static void gates(void)
{
	idt_set(0x50, 0x800000000000, SEL_CODE, GATE_INT, 0, 0);
	check_trap(attempt(int50, NULL), GP, 0, "a non-canonical offset");
	idt_set(0x50, stub(0x50), SEL_CODE32, GATE_INT, 0, 0);
	check_trap(attempt(int50, NULL), GP, SEL_CODE32, "a gate to 32-bit code");
	idt_set(0x50, stub(0x50), SEL_CODE, GATE_TASK, 0, 0);
	check_trap(attempt(int50, NULL), GP, 0x50 * 8 + 2, "a task gate");
	idt_set(0x50, stub(0x50), SEL_CODE, 6, 0, 0);
	check_trap(attempt(int50, NULL), GP, 0x50 * 8 + 2, "a 16-bit gate");
	idt_set(0x50, stub(0x50), SEL_CODE, GATE_INT, 0, 0);
}

struct far_pointer {
	u32 offset;
	u16 selector;
} __attribute__((packed));

asm(".text; inner: mov %cs, inner_cs; push %rsi; push %rdi; push %rcx; lea 24(%rsp), %rsi;"
    "mov $inner_frame, %edi; mov $4, %ecx; cld; rep movsq; pop %rcx; pop %rdi; pop %rsi;"
    "lretq; .data; .align 8; inner_cs: .quad 0; inner_frame: .skip 32; .text");
extern char inner[];
extern u64 inner_cs, inner_frame[4];

static void set_call_gate(u64 offset, u16 selector, u32 dpl, u32 type)
{
	gdt_set(G, (offset & 0xffff) | (u64)selector << 16 |
			   (u64)(D_PRESENT | type | dpl << 5) << 40 |
			   (offset >> 16 & 0xffff) << 48);
	gdt_set(G + 8, offset >> 32);
}

static void far_call(void *to)
{
	asm volatile("lcall *(%0)" ::"r"(to) : "memory");
}

static void far_jump(void *to)
{
	asm volatile("ljmp *(%0)" ::"r"(to) : "memory");
}

static struct far_pointer USER_DATA user_target = { 0, G | 3 };

static void USER_CODE user_far_call(void *unused)
{
	(void)unused;
	asm volatile("lcall *%0" ::"m"(user_target) : "memory");
	user_exit();
}

static void call_gates(void)
{
	struct far_pointer to = { 0x12345678, G };

	set_call_gate((word)inner, SEL_CODE, 3, GATE_CALL);
	check_trap(attempt(far_call, &to), NO_TRAP, 0, "a call gate within ring 0");
	check_trap(attempt_user(user_far_call, NULL), USER_EXIT, 0, "a call gate from ring 3");
	check_equal(inner_cs & 0xffff, SEL_CODE, "CS inside");
	check_equal(inner_frame[1], SEL_USER_CODE, "the return CS");
	check_equal(inner_frame[3], SEL_USER_DATA, "the outer SS");
	check(inner_frame[2] - (word)user_stack < sizeof(user_stack), "the outer RSP");
	set_call_gate((word)inner, SEL_CODE32, 3, GATE_CALL);
	check_trap(attempt(far_call, &to), GP, SEL_CODE32, "a call gate to 32-bit code");
	set_call_gate(0x800000000000, SEL_CODE, 3, GATE_CALL);
	check_trap(attempt(far_call, &to), GP, 0, "a call gate to a non-canonical offset");
	set_call_gate((word)inner, SEL_CODE, 3, GATE_CALL);
	gdt_set(G + 8, (u64)1 << 40);
	check_trap(attempt(far_call, &to), GP, G, "a call gate whose second half has a type");
	set_call_gate((word)inner, SEL_CODE, 3, 4);
	check_trap(attempt(far_call, &to), GP, G, "a 16-bit call gate");
	to.selector = SEL_TSS;
	check_trap(attempt(far_call, &to), GP, SEL_TSS, "a TSS");
	set_call_gate((word)inner, SEL_CODE, 3, GATE_TASK);
	to.selector = G;
	check_trap(attempt(far_jump, &to), GP, G, "a task gate");
}

static void iret_checks(void)
{
	word rsp = (word)user_stack + 4096;

	check_trap(attempt_iret(SEL_USER_CODE, 0x800000000000, 0, SEL_USER_DATA, rsp), GP, 0,
		"IRET to a non-canonical RIP");
	check_trap(
		attempt_iret(SEL_USER_CODE, 0x400000, 0, 0, rsp), GP, 0, "IRET to ring 3, SS null");
	check_trap(attempt_iret(0, 0x400000, 0, SEL_USER_DATA, rsp), GP, 0, "IRET to CS null");
	gdt_set(S, descriptor(0, ~0u, D_CODE | D_DPL(3) | D_LONG | D_32 | D_PAGES));
	check_trap(attempt_iret(S | 3, 0x400000, 0, SEL_USER_DATA, rsp), GP, S,
		"IRET to CS with L and D");
	asm volatile("pushf; orl $0x4000, (%rsp); popf");
	check_trap(attempt_iret(SEL_USER_CODE, 0x400000, 0, SEL_USER_DATA, rsp), GP, 0,
		"IRET with NT");
	asm volatile("pushf; andl $~0x4000, (%rsp); popf");
}

/* 32-bit code in ring 3: what a 64-bit processor would take otherwise. */
asm(".section .user.text,\"ax\",@progbits; .code32;"
    "compat_code: xor %eax, %eax; dec %eax; inc %eax; mov $0x12345678, %ebx; push %ebx;"
    "pop %edx; mov %cs, %ecx; int $0x40;"
    "compat_limit: mov %gs:(0x10), %eax; int $0x40;"
    "compat_pusha: pusha; popa; int $0x40;"
    "compat_wrap: mov $0xfffffff0, %ebx; mov 0x400010(%ebx), %eax; int $0x40;"
    ".code16; code16: mov $0xffff, %ax; inc %ax; pushw %bx; int $0x40;"
    ".code64; .text");
extern char compat_code[], compat_limit[], compat_pusha[], compat_wrap[], code16[];

static void compatibility(void)
{
	word esp = (word)user_stack + 4096;

	check_trap(attempt_iret(SEL_USER_CODE32, (word)compat_code, 0, SEL_USER_DATA, esp),
		USER_EXIT, 0, "compatibility mode");
	check_equal(last_trap.rax, 0, "40 and 48 are INC and DEC");
	check_equal(last_trap.rdx, 0x12345678, "PUSH and POP of 32 bits");
	check_equal(last_trap.rsp, esp, "ESP");
	check_equal(last_trap.cs, SEL_USER_CODE32, "CS");
	check_trap(attempt_iret(SEL_USER_CODE32, (word)compat_pusha, 0, SEL_USER_DATA, esp),
		USER_EXIT, 0, "PUSHA");
	gdt_set(S, descriptor((u32)(word)user_stack, 0xf, D_DATA | D_DPL(3) | D_32));
	asm volatile("mov %w0, %%gs" ::"r"(S | 3));
	check_trap(attempt_iret(SEL_USER_CODE32, (word)compat_limit, 0, SEL_USER_DATA, esp), GP, 0,
		"limits count in compatibility mode");
	asm volatile("mov %w0, %%gs" ::"r"(SEL_USER_DATA));
	check_trap(attempt_iret(SEL_USER_CODE32, (word)compat_limit, 0, 0, esp), GP, 0,
		"a null SS does not do in compatibility mode");
	asm volatile("mov %w0, %%gs; mov %w1, %%ds" ::"r"(0), "r"(SEL_USER_DATA));
	check_trap(attempt_iret(SEL_USER_CODE32, (word)compat_wrap, 0, SEL_USER_DATA, esp),
		USER_EXIT, 0, "addresses wrap at 4 GiB");
	check_trap(
		attempt_iret(SEL_USER_CODE32, BIT(32) | (word)compat_code, 0, SEL_USER_DATA, esp),
		GP, 0, "a RIP beyond the limit of CS");
	gdt_set(C16, descriptor((u32)(word)code16, 0xffff, D_CODE | D_DPL(3)));
	check_trap(attempt_iret(C16 | 3, 0, 0, SEL_USER_DATA, esp), USER_EXIT, 0, "16-bit code");
	check_equal(last_trap.rax & 0xffff, 0, "its operands");
	check_equal(last_trap.rsp, esp - 2, "PUSH of 16 bits");
	asm volatile("mov %w0, %%ds" ::"r"(SEL_DATA));
}

static void in_64_bit_mode(void)
{
	u32 value;

	/* Limits and bases of DS do not count; FS's base does. */
	gdt_set(S, descriptor(0x1000, 0, D_DATA | D_32));
	user_target.offset = 0xabcd;
	asm volatile("mov %w1, %%ds; mov (%2), %0; mov %w3, %%ds"
		     : "=&r"(value)
		     : "r"(S), "r"(&user_target.offset), "r"(SEL_DATA)
		     : "memory");
	check_equal(value, 0xabcd, "DS has neither base nor limit");
	asm volatile("mov %w1, %%fs; mov %%fs:-0x1000(%2), %0; mov %w3, %%fs"
		     : "=&r"(value)
		     : "r"(S), "r"(&user_target.offset), "r"(0)
		     : "memory");
	check_equal(value, 0xabcd, "FS has a base and no limit");
	asm volatile("mov %w0, %%ds; mov (%1), %%eax; mov %w2, %%ds" ::"r"(0),
		     "r"(&user_target.offset), "r"(SEL_DATA)
		     : "eax", "memory");
	ok("a null DS can be used");
}

static void push_es(void *unused)
{
	(void)unused;
	asm volatile(".byte 0x06");
}

static void bcd(void *unused)
{
	(void)unused;
	asm volatile(".byte 0x27");
}

static void direct_far_call(void *unused)
{
	(void)unused;
	asm volatile(".byte 0x9a, 0, 0, 0, 0, 0, 0");
}

static void load_ldt(void *selector)
{
	asm volatile("lldt %w0" ::"r"((u32)(word)selector));
}

static void invalid(void)
{
	check_trap(attempt(push_es, NULL), UD, 0, "PUSH ES");
	check_trap(attempt(bcd, NULL), UD, 0, "DAA");
	check_trap(attempt(direct_far_call, NULL), UD, 0, "CALL with an immediate far pointer");
	/* System descriptors have 16 bytes. */
	gdt_set(LDT, descriptor(0x1000, 0xff, D_PRESENT | 2));
	gdt_set(LDT + 8, 0xffff8000);
	check_trap(attempt(load_ldt, (void *)LDT), NO_TRAP, 0, "LLDT of a 16-byte descriptor");
	gdt_set(LDT + 8, 0x8000);
	check_trap(attempt(load_ldt, (void *)LDT), GP, LDT, "LLDT with a non-canonical base");
	asm volatile("lldt %w0" ::"r"(0));
}

void payload(void)
{
	stacks();
	gates();
	call_gates();
	iret_checks();
	compatibility();
	in_64_bit_mode();
	invalid();
}
