/*
 * Faults that have to leave everything as it was, and string instructions that stop in the middle:
 * SDM 3A 6.6, 4.7, and the instructions' pages.
 */
#include "payload.h"

#define WINDOW 0x8000000000ull
#define EDGE   (WINDOW + 0x1000) /* a page ends here, and the next is absent */

static u64 *table;
static u8 *page;
static u8 source[256], scratch[256];

static void make_window(void)
{
	u64 *pointers = page_alloc(), *directory = page_alloc();

	table = page_alloc();
	page = page_alloc();
	((u64 *)(word)read_cr3())[1] = (word)pointers | PTE_P | PTE_W | PTE_U;
	pointers[0] = (word)directory | PTE_P | PTE_W | PTE_U;
	directory[0] = (word)table | PTE_P | PTE_W | PTE_U;
	table[0] = (word)page | PTE_P | PTE_W | PTE_U;
}

static void protect_page(bool writable)
{
	table[0] = (word)page | PTE_P | PTE_U | (writable ? PTE_W : 0);
	invlpg((void *)WINDOW);
}

struct move {
	word to, from, count;
};

static void move_bytes(void *move_)
{
	struct move move = *(struct move *)move_;

	asm volatile("rep movsb" : "+D"(move.to), "+S"(move.from), "+c"(move.count)::"memory");
}

static void move_bytes_down(void *move_)
{
	struct move move = *(struct move *)move_;

	asm volatile("std; rep movsb; cld"
		     : "+D"(move.to), "+S"(move.from), "+c"(move.count)::"memory");
}

static void store_words(void *move_)
{
	struct move move = *(struct move *)move_;

	asm volatile("rep stosl" : "+D"(move.to), "+c"(move.count) : "a"(0x11111111) : "memory");
}

static void check_stopped(word to, word from, word count, const char *name)
{
	check(last_trap.rdi == to && last_trap.rsi == from && last_trap.rcx == count, name);
}

static void strings(void)
{
	struct move move = { EDGE - 40, (word)source, 100 };

	check_page_fault(attempt(move_bytes, &move), PF_W, EDGE, "REP MOVSB into an absent page");
	check_stopped(EDGE, (word)source + 40, 60, "it stops there");
	check(memcmp(page + 4096 - 40, source, 40) == 0, "what came before is done");
	check(last_trap.rflags & FLAG_RF, "the frame has RF");
	move = (struct move){ (word)scratch, EDGE - 3, 9 };
	check_page_fault(attempt(move_bytes, &move), 0, EDGE, "REP MOVSB out of an absent page");
	check_stopped((word)scratch + 3, EDGE, 6, "it stops there");
	move = (struct move){ WINDOW + 2, (word)source + 100, 10 };
	check_page_fault(attempt(move_bytes_down, &move), PF_W, WINDOW - 1, "REP MOVSB downwards");
	check_stopped(WINDOW - 1, (word)source + 97, 7, "it stops there");
	move = (struct move){ EDGE - 6, 0, 5 };
	memset(page + 4090, 0, 6);
	check_page_fault(attempt(store_words, &move), PF_W, EDGE, "REP STOSD across the edge");
	check(last_trap.rdi == EDGE - 2 && last_trap.rcx == 4, "an element is written or not");
	check(page[4094] == 0 && page[4095] == 0, "this one is not");
	move = (struct move){ EDGE + 64, (word)source, 0 };
	check_trap(attempt(move_bytes, &move), NO_TRAP, 0, "a count of 0 touches nothing");
}

/* Ring 3 with a stack at the start of the window: what is below it is not there. */
#define USER_CODE_AT(name, code)                                                                   \
	extern char name[], name##_fault[];                                                        \
	asm(".section .user.text,\"ax\",@progbits; " #name ": " code "; int $0x40; .text")

USER_CODE_AT(at_push, "at_push_fault: push %rax");
USER_CODE_AT(at_call, "at_call_fault: call 1f; 1:");
USER_CODE_AT(at_enter, "mov $0x1234, %ebp; at_enter_fault: enter $32, $0");
USER_CODE_AT(at_push_memory, "at_push_memory_fault: push (%rsp)");

static void stack_fault(char *code, char *fault, const char *name)
{
	int got = attempt_iret(SEL_USER_CODE, (word)code, 0, SEL_USER_DATA, WINDOW);

	check_page_fault(got, PF_U | PF_W, WINDOW - 8, name);
	check(last_trap.rsp == WINDOW && last_trap.rip == (word)fault, "RSP and RIP are as before");
}

static void stacks(void)
{
	stack_fault(at_push, at_push_fault, "PUSH");
	stack_fault(at_call, at_call_fault, "CALL");
	stack_fault(at_push_memory, at_push_memory_fault, "PUSH of memory");
	stack_fault(at_enter, at_enter_fault, "ENTER");
	check_equal(last_trap.rbp, 0x1234, "and RBP");
}

#define MEMORY_OPERATION(name, code)                                                               \
	static void name(void *at)                                                                 \
	{                                                                                          \
		asm volatile(code ::"r"(at) : "rax", "rdx", "memory", "cc");                       \
	}
MEMORY_OPERATION(op_cmpxchg, "mov $1, %%eax; mov $2, %%edx; cmpxchgl %%edx, (%0)")
MEMORY_OPERATION(op_lock_cmpxchg, "mov $1, %%eax; mov $2, %%edx; lock cmpxchgl %%edx, (%0)")
MEMORY_OPERATION(op_bts, "btsl $0, (%0)")
MEMORY_OPERATION(op_xchg, "xor %%eax, %%eax; xchgl %%eax, (%0)")
MEMORY_OPERATION(op_add, "addl $0, (%0)")
MEMORY_OPERATION(op_xadd, "xor %%eax, %%eax; lock xaddl %%eax, (%0)")
MEMORY_OPERATION(op_inc, "lock incl (%0)")
MEMORY_OPERATION(op_test, "testl $1, (%0)")
MEMORY_OPERATION(op_bt, "btl $0, (%0)")
MEMORY_OPERATION(op_cmp, "cmpl $1, (%0)")
MEMORY_OPERATION(op_fill, "movq $0x55, (%0)")

static void read_modify_write(void)
{
	static const struct {
		const char *name;
		void (*operation)(void *);
		bool writes;
	} rows[] = {
		{ "CMPXCHG that does not match", op_cmpxchg, true },
		{ "LOCK CMPXCHG that does not match", op_lock_cmpxchg, true },
		{ "BTS of a set bit", op_bts, true },
		{ "XCHG", op_xchg, true },
		{ "ADD 0", op_add, true },
		{ "LOCK XADD", op_xadd, true },
		{ "LOCK INC", op_inc, true },
		{ "TEST", op_test, false },
		{ "BT", op_bt, false },
		{ "CMP", op_cmp, false },
	};
	void *at = (void *)(WINDOW + 64);

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		*(u32 *)(page + 64) = 0x77;
		protect_page(false);
		if (rows[i].writes)
			check_page_fault(attempt(rows[i].operation, at), PF_P | PF_W, (word)at,
				rows[i].name);
		else
			check_trap(attempt(rows[i].operation, at), NO_TRAP, 0, rows[i].name);
		check_equal(*(u32 *)(page + 64), 0x77, "memory is as before");
		check_page_fault(attempt(rows[i].operation, (void *)EDGE),
			rows[i].writes ? PF_W : 0, EDGE,
			"an absent page: the access is what the instruction is");
	}
	protect_page(true);
	attempt(op_fill, at);
	check_equal(*(u64 *)(page + 64), 0x55, "writable again");
}

struct division {
	u64 low, high, by;
};

static void divide(void *division_)
{
	struct division *d = division_;

	asm volatile("divq %2" : "+a"(d->low), "+d"(d->high) : "r"(d->by) : "cc");
}

static void divide_signed(void *division_)
{
	struct division *d = division_;

	asm volatile("idivq %2" : "+a"(d->low), "+d"(d->high) : "r"(d->by) : "cc");
}

static void divisions(void)
{
	check_trap(attempt(divide, &(struct division){ 1, 0, 0 }), DE, 0, "DIV by 0");
	check_trap(
		attempt(divide, &(struct division){ 0, 5, 5 }), DE, 0, "DIV: quotient too large");
	check(last_trap.rax == 0 && last_trap.rdx == 5, "RAX and RDX are as before");
	check_trap(
		attempt(divide, &(struct division){ ~0ull, 4, 5 }), NO_TRAP, 0, "DIV: the largest");
	check_trap(attempt(divide_signed, &(struct division){ BIT(63), ~0ull, ~0ull }), DE, 0,
		"IDIV: the least by -1");
	check_trap(attempt(divide_signed, &(struct division){ BIT(63), ~0ull, 1 }), NO_TRAP, 0,
		"IDIV: the least by 1");
}

#define INVALID(name, ...)                                                                         \
	static void name(void *unused)                                                             \
	{                                                                                          \
		(void)unused;                                                                      \
		asm volatile(".byte " __VA_ARGS__ ::: "rax", "memory", "cc");                      \
	}
INVALID(lock_register, "0xf0, 0x01, 0xc0")      /* lock add %eax, %eax */
INVALID(lock_move, "0xf0, 0x89, 0x04, 0x24")    /* lock mov %eax, (%rsp) */
INVALID(lock_compare, "0xf0, 0x39, 0x04, 0x24") /* lock cmp %eax, (%rsp) */
INVALID(lock_nop, "0xf0, 0x90")                 /* lock nop */
INVALID(fifteen, "0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90")
INVALID(sixteen, "0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90")
INVALID(ud0, "0x0f, 0xff, 0xc0")
INVALID(ud1, "0x0f, 0xb9, 0xc0")
INVALID(lea_register, "0x8d, 0xc0")
INVALID(move_to_cs, "0x8e, 0xc8")
INVALID(move_from_segment_6, "0x8c, 0xf0")

static void invalid(void)
{
	check_trap(attempt(lock_register, NULL), UD, 0, "LOCK with a register");
	check_trap(attempt(lock_move, NULL), UD, 0, "LOCK MOV");
	check_trap(attempt(lock_compare, NULL), UD, 0, "LOCK CMP");
	check_trap(attempt(lock_nop, NULL), UD, 0, "LOCK NOP");
	check_trap(attempt(fifteen, NULL), NO_TRAP, 0, "15 bytes");
	check_trap(attempt(sixteen, NULL), GP, 0, "16 bytes");
	check_trap(attempt(ud0, NULL), UD, 0, "UD0");
	check_trap(attempt(ud1, NULL), UD, 0, "UD1");
	check_trap(attempt(lea_register, NULL), UD, 0, "LEA of a register");
	check_trap(attempt(move_to_cs, NULL), UD, 0, "MOV to CS");
	check_trap(attempt(move_from_segment_6, NULL), UD, 0, "MOV from segment register 6");
}

static void jump(void *to)
{
	asm volatile("bad_jump: jmp *%0" ::"r"(to));
}

static void return_to(void *to)
{
	asm volatile("push %0; bad_return: ret" ::"r"(to));
}

static void branches(void)
{
	extern char bad_jump[] asm("bad_jump"), bad_return[] asm("bad_return");

	check_trap(attempt(jump, (void *)0x800000000000), GP, 0, "JMP to a non-canonical address");
	check_equal(last_trap.rip, (word)bad_jump, "RIP is that of JMP");
	check_trap(attempt(return_to, (void *)0x800000000000), GP, 0, "RET to one");
	check_equal(last_trap.rip, (word)bad_return, "RIP is that of RET");
	check_page_fault(
		attempt(jump, (void *)(EDGE + 16)), PF_I, EDGE + 16, "JMP to an absent page");
	check_equal(last_trap.rip, EDGE + 16, "RIP is its target");
}

static void aligned_move(void *at)
{
	asm volatile("movaps (%0), %%xmm0" ::"r"(at));
}

static void unaligned_move(void *at)
{
	asm volatile("movups (%0), %%xmm0" ::"r"(at));
}

static void USER_CODE user_read4(void *at)
{
	asm volatile("pushf; orl $0x40000, (%%rsp); popf; mov (%0), %%eax" ::"r"(at)
		     : "eax", "memory");
	user_exit();
}

static void USER_CODE user_read1(void *at)
{
	asm volatile("pushf; orl $0x40000, (%%rsp); popf; movb (%0), %%al" ::"r"(at)
		     : "eax", "memory");
	user_exit();
}

static void alignment(void)
{
	write_cr4(read_cr4() | CR4_OSFXSR);
	check_trap(attempt(aligned_move, source + 1), GP, 0, "MOVAPS, not aligned");
	check_trap(attempt(unaligned_move, source + 1), NO_TRAP, 0, "MOVUPS, not aligned");
	check_trap(attempt_user(user_read4, (void *)(WINDOW + 1)), USER_EXIT, 0,
		"EFLAGS.AC without CR0.AM");
	write_cr0(read_cr0() | CR0_AM);
	check_trap(attempt_user(user_read4, (void *)(WINDOW + 1)), AC, 0, "an alignment check");
	check_trap(attempt_user(user_read4, (void *)(WINDOW + 4)), USER_EXIT, 0, "aligned");
	check_trap(attempt_user(user_read1, (void *)(WINDOW + 1)), USER_EXIT, 0, "a byte");
	write_flags(read_flags() | FLAG_AC);
	check_equal(*(volatile u32 *)(source + 1), 0x04030201, "ring 0 is not concerned");
	write_flags(read_flags() & ~(word)FLAG_AC);
	write_cr0(read_cr0() & ~CR0_AM);
}

static void int3(void *unused)
{
	(void)unused;
	asm volatile("int3");
}

static void resume_flag(void)
{
	check_trap(attempt(int3, NULL), BP, 0, "INT3");
	check(!(last_trap.rflags & FLAG_RF), "a trap's frame has no RF");
	check_trap(attempt(ud0, NULL), UD, 0, "a fault");
	check(last_trap.rflags & FLAG_RF, "a fault's frame has RF");
}

void payload(void)
{
	write_cr0(read_cr0() | CR0_WP);
	make_window();
	for (unsigned i = 0; i < sizeof(source); i++)
		source[i] = (u8)i;
	strings();
	stacks();
	read_modify_write();
	divisions();
	invalid();
	branches();
	alignment();
	resume_flag();
}
