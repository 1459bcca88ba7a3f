/* Gates in protected mode: SDM 3A 5.8 and 6.11 to 6.13. */
#include "payload.h"

enum { G = SEL_FREE, S = SEL_FREE + 8 };

#define ERROR_IDT(vector) ((vector)*8 + 2)
#define ERROR_EXT         1

static u64 gate(u32 type, u32 selector, u32 offset, u32 parameters, u32 dpl)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)parameters << 32 |
	       (u64)(type | dpl << 5 | D_PRESENT) << 40 | (u64)(offset >> 16) << 48;
}

static struct trap seen;

static void keep(struct trap *trap)
{
	seen = *trap;
}

static void int50(void *unused)
{
	(void)unused;
	asm volatile("int $0x50");
}

static void USER_CODE user_int50(void *unused)
{
	(void)unused;
	asm volatile("int $0x50");
	user_exit();
}

static void USER_CODE user_int3(void *unused)
{
	(void)unused;
	asm volatile("int3");
	user_exit();
}

static void undefined(void *unused)
{
	(void)unused;
	asm volatile("ud2");
}

static word stub(int vector)
{
	return (word)trap_stubs + 16 * (word)vector;
}

static void interrupt_gates(void)
{
	word flags;

	set_hook(0x50, keep);
	asm volatile("sti; int $0x50; pushf; pop %0; cli" : "=r"(flags)::"memory");
	check(seen.rflags & FLAG_IF, "the frame has IF");
	check(flags & FLAG_IF, "IRET brings IF back");
	check_equal(seen.cs, SEL_CODE, "the frame has CS");
	set_hook(0x50, NULL);

	idt_set(0x50, stub(0x50), SEL_CODE, GATE_INT, 0, 0);
	check_trap(attempt(int50, NULL), 0x50, 0, "INT in ring 0");
	check_trap(attempt_user(user_int50, NULL), GP, ERROR_IDT(0x50), "INT in ring 3, DPL 0");
	check_trap(attempt_user(user_int3, NULL), GP, ERROR_IDT(BP), "INT3 in ring 3, DPL 0");
	idt_set(0x50, stub(0x50), SEL_CODE, GATE_INT, 3, 0);
	check_trap(attempt_user(user_int50, NULL), 0x50, 0, "INT in ring 3, DPL 3");
	check_equal(last_trap.ss, SEL_USER_DATA, "the frame has SS");
	check(last_trap.rsp - (word)user_stack <= sizeof(user_stack), "the frame has ESP");
	check_equal(last_trap.cs, SEL_USER_CODE, "the frame has CS of ring 3");

	idt[0x50].low &= ~BIT(47);
	check_trap(attempt(int50, NULL), NP, ERROR_IDT(0x50), "a gate that is not present");
	idt[0x50].low = 0;
	check_trap(attempt(int50, NULL), GP, ERROR_IDT(0x50), "an empty gate");
	idt_set(0x50, stub(0x50), SEL_DATA, GATE_INT, 0, 0);
	check_trap(attempt(int50, NULL), GP, SEL_DATA, "a gate to data");
	idt_set(0x50, stub(0x50), 0, GATE_INT, 0, 0);
	check_trap(attempt(int50, NULL), GP, 0, "a gate to the null selector");
	gdt_set(S, descriptor(0, 0xffffffff, (D_CODE | D_32 | D_PAGES) & ~D_PRESENT));
	idt_set(0x50, stub(0x50), S, GATE_INT, 0, 0);
	check_trap(attempt(int50, NULL), NP, S, "a gate to a segment that is not present");
	gdt_set(S, descriptor(0, 0xffffffff, D_CODE | D_DPL(3) | D_32 | D_PAGES));
	check_trap(attempt(int50, NULL), GP, S, "a gate to an outer ring");
	idt_load(0x50);
	check_trap(attempt(int50, NULL), GP, ERROR_IDT(0x50), "a vector beyond the IDT");
	idt_load(256);

	/* An exception on the way to an exception says EXT. */
	idt[UD].low &= ~BIT(47);
	check_trap(attempt(undefined, NULL), NP, ERROR_IDT(UD) | ERROR_EXT,
		"EXT: an exception's gate is not present");
	idt_set(UD, stub(UD), SEL_CODE, GATE_INT, 0, 0);
	check_trap(attempt(undefined, NULL), UD, 0, "UD2");
}

static void trap_gates(void)
{
	static word inside;

	extern char flags_entry[] asm("flags_entry");
	asm volatile("jmp 2f; .globl flags_entry; flags_entry: push %%eax; pushf; pop %%eax;"
		     "mov %%eax, %0; pop %%eax; iret; 2:"
		     : "=m"(inside)::"memory");
	idt_set(0x51, (word)flags_entry, SEL_CODE, GATE_TRAP, 0, 0);
	asm volatile("sti; int $0x51; cli" ::: "memory");
	check(inside & FLAG_IF, "a trap gate leaves IF");
	idt_set(0x51, (word)flags_entry, SEL_CODE, GATE_INT, 0, 0);
	asm volatile("sti; int $0x51; cli" ::: "memory");
	check(!(inside & FLAG_IF), "an interrupt gate clears IF");
	asm volatile("pushf; orl $0x4000, (%%esp); popf; int $0x51; pushf; andl $~0x4000, (%%esp);"
		     "popf" ::
			     : "memory", "cc");
	check(!(inside & FLAG_NT), "an interrupt clears NT");
}

static void gates_of_16_bits(void)
{
	extern char entry16[] asm("entry16");
	static u32 sp_inside;
	word before, after;

	gdt_set(S, descriptor((u32)entry16, 0xffff, D_CODE | D_32));
	asm volatile("jmp 2f; .globl entry16; entry16: mov %%esp, %0; iretw; 2:"
		     : "=m"(sp_inside)::"memory");
	/* A 16-bit interrupt gate pushes three words; its offset has 16 bits. The return is to the
	 * low 64 KiB, where a trampoline lies. */
	u8 *low = (u8 *)0x7000;
	static const u8 code[] = { 0xcd, 0x52, 0xcb }; /* int 0x52; lret */

	memcpy(low, code, sizeof(code));
	idt[0x52].low = gate(6, S, 0, 0, 0);
	asm volatile("mov %%esp, %0; push %%cs; push $1f; push %%cs; push $0x7000; lret; 1:"
		     "mov %%esp, %1"
		     : "=&r"(before), "=&r"(after)::"memory");
	check_equal(before - sp_inside, 8 + 6, "a 16-bit gate pushes words");
	check_equal(after, before, "IRETW takes them back");
}

struct far_pointer {
	u32 offset;
	u16 selector;
} __attribute__((packed));

static u32 USER_DATA user_words[8];

/* What a call gate leads to: keeps its stack and returns. */
u32 inner_stack[8], inner_cs;

static void __attribute__((naked, used)) inner(void)
{
	asm("push %eax; push %ecx; push %esi; push %edi; push %ds; push %es;"
	    "mov $0x10, %eax; mov %eax, %ds; mov %eax, %es;"
	    "lea 24(%esp), %esi; mov $inner_stack, %edi; mov $8, %ecx; cld; rep movsl;"
	    "mov %cs, %eax; mov %eax, inner_cs;"
	    "pop %es; pop %ds; pop %edi; pop %esi; pop %ecx; pop %eax; lret $8");
}

static void __attribute__((naked, used)) inner_plain(void)
{
	asm("mov %cs, inner_cs; lret");
}

static void call_gate(void *to)
{
	asm volatile("lcall *(%0)" ::"r"(to) : "memory");
}

static struct far_pointer USER_DATA user_target;

static void USER_CODE user_call_gate(void *words_)
{
	u32 *words = words_;

	asm volatile(
		"mov %%esp, (%0); push $0x1111; push $0x2222; lcall *%1; mov %%esp, 4(%0)" ::"r"(
			words),
		"m"(user_target)
		: "memory");
	user_exit();
}

static void USER_CODE user_jump_gate(void *unused)
{
	(void)unused;
	asm volatile("ljmp *%0" ::"m"(user_target) : "memory");
	user_exit();
}

static void call_gates(void)
{
	struct far_pointer to = { 0xdeadbeef, G };

	gdt_set(G, gate(GATE_CALL, SEL_CODE, (u32)inner_plain, 0, 0));
	check_trap(attempt(call_gate, &to), NO_TRAP, 0, "a call gate in ring 0; its offset counts");
	check_equal(inner_cs, SEL_CODE, "CS inside");
	user_target = (struct far_pointer){ 0, G | 3 };
	check_trap(attempt_user(user_call_gate, user_words), GP, G, "ring 3, DPL 0");
	to.selector = G | 3;
	check_trap(attempt(call_gate, &to), GP, G, "RPL 3, DPL 0");

	gdt_set(G, gate(GATE_CALL, SEL_CODE, (u32)inner, 2, 3));
	check_trap(attempt_user(user_call_gate, user_words), USER_EXIT, 0,
		"a call gate from ring 3 to ring 0");
	check_equal(inner_cs, SEL_CODE, "CS of ring 0");
	check_equal(inner_stack[1], SEL_USER_CODE, "the return CS");
	check_equal(inner_stack[2], 0x2222, "the last parameter");
	check_equal(inner_stack[3], 0x1111, "the first parameter");
	check_equal(inner_stack[4], user_words[0] - 8, "the outer ESP");
	check_equal(inner_stack[5], SEL_USER_DATA, "the outer SS");
	check_equal(user_words[1], user_words[0], "RET n removes parameters from both stacks");
	check_trap(attempt_user(user_jump_gate, NULL), GP, SEL_CODE,
		"a jump through a call gate to an inner ring");

	gdt_set(G, gate(GATE_CALL, SEL_CODE, (u32)inner, 2, 3) & ~BIT(47));
	check_trap(attempt_user(user_call_gate, user_words), NP, G, "not present");
	gdt_set(G, gate(GATE_CALL, 0, (u32)inner, 2, 3));
	check_trap(attempt_user(user_call_gate, user_words), GP, 0, "to the null selector");
	gdt_set(G, gate(GATE_CALL, SEL_DATA, (u32)inner, 2, 3));
	check_trap(attempt_user(user_call_gate, user_words), GP, SEL_DATA, "to data");
	gdt_set(S, descriptor(0, 0xffffffff, D_CODE | D_CONFORMING | D_32 | D_PAGES));
	gdt_set(G, gate(GATE_CALL, S, (u32)inner_plain, 0, 3));
	check_trap(attempt_user(user_call_gate, user_words), USER_EXIT, 0, "to conforming code");
	check_equal(inner_cs, S | 3, "which keeps CPL 3");
}

static void inner_stack_faults(void)
{
	gdt_set(G, gate(GATE_CALL, SEL_CODE, (u32)inner, 2, 3));
	/* Ring 1's stack is what fails: #TS itself needs that of ring 0. */
	tss.ss1 = 0;
	gdt_set(S, descriptor(0, 0xffffffff, D_CODE | D_DPL(1) | D_32 | D_PAGES));
	gdt_set(G, gate(GATE_CALL, S, (u32)inner, 2, 3));
	check_trap(attempt_user(user_call_gate, user_words), TS, 0, "a null SS in the TSS");
	tss.ss1 = SEL_DATA | 1;
	check_trap(attempt_user(user_call_gate, user_words), TS, SEL_DATA,
		"an SS of ring 0 for ring 1");
	gdt_set(S + 8,
		descriptor(0, 0xffffffff, (D_DATA | D_DPL(1) | D_32 | D_PAGES) & ~D_PRESENT));
	tss.ss1 = (S + 8) | 1;
	check_trap(
		attempt_user(user_call_gate, user_words), SS, S + 8, "an SS that is not present");
	gdt_set(S + 8, descriptor((u32)ist_stack, 0xfff, D_DATA | D_DPL(1) | D_32));
	tss.esp1 = 0x1004;
	check_trap(attempt_user(user_call_gate, user_words), SS, S + 8,
		"an ESP beyond the limit of SS");
	tss.esp1 = 0x1000;
	check_trap(attempt_user(user_call_gate, user_words), GP, SEL_DATA,
		"ring 1 gets there, and may not load ring 0's data");
	check_equal(last_trap.cs & 3, 1, "CPL 1");
}

static void into(void *unused)
{
	(void)unused;
	asm volatile("mov $0x7fffffff, %%eax; inc %%eax; into" ::: "eax", "cc");
}

static void bound(void *index)
{
	static const int range[2] = { -5, 10 };

	asm volatile("bound %0, %1" ::"r"(*(int *)index), "m"(range));
}

void payload(void)
{
	interrupt_gates();
	trap_gates();
	gates_of_16_bits();
	call_gates();
	inner_stack_faults();
	check_trap(attempt(into, NULL), OF, 0, "INTO");
	check_trap(attempt(bound, &(int){ -5 }), NO_TRAP, 0, "BOUND at the lower bound");
	check_trap(attempt(bound, &(int){ 11 }), BR, 0, "BOUND above the upper bound");
}
