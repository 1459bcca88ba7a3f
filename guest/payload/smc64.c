/* Code that changes under the processor: SDM 3A 9.1.3, 12.6. */
#include "payload.h"

static u8 code[3 * 4096] __attribute__((aligned(4096)));

/* mov $value, %eax; ret */
static void emit(u8 *at, u32 value)
{
	at[0] = 0xb8;
	memcpy(at + 1, &value, 4);
	at[5] = 0xc3;
	barrier();
}

static u32 call(const void *at)
{
	u32 value;

	asm volatile("call *%1" : "=a"(value) : "r"(at) : "memory", "cc");
	return value;
}

static void rewritten(void)
{
	bool all = true;

	for (u32 i = 0; i < 100; i++) {
		emit(code, i);
		all &= call(code) == i;
	}
	check(all, "a function is rewritten a hundred times");
	emit(code, 1);
	call(code);
	code[2] = 1;
	check_equal(call(code), 0x101, "one byte of an immediate");
	emit(code + 4093, 0x11223344);
	check_equal(call(code + 4093), 0x11223344, "an instruction across pages");
	code[4097] = 0x55;
	check_equal(call(code + 4093), 0x55223344, "its part in the second page changes");
	code[4094] = 0x66;
	check_equal(call(code + 4093), 0x55223366, "its part in the first page changes");
	emit(code, 5);
	call(code);
	memset(code + 1, 0, 4);
	check_equal(call(code), 0, "rewritten by a string instruction");
}

static void itself(void)
{
	u32 value;

	/* Stores into the very next instruction, in the same straight line. */
	asm volatile("lea 1f(%%rip), %%rcx; movl $0x1234, 1(%%rcx); 1: mov $0x7777, %0; "
		     "movl $0x7777, 1(%%rcx)"
		     : "=a"(value)::"rcx", "memory");
	check_equal(value, 0x1234, "an instruction changes the next one");
	/* A loop whose body changes each time. */
	asm volatile("xor %%edx, %%edx; mov $5, %%ecx; lea 2f(%%rip), %%rsi;"
		     "1: incb 2(%%rsi); 2: add $0, %%edx; loop 1b; movb $0, 2(%%rsi); mov %%edx, %0"
		     : "=a"(value)::"rcx", "rdx", "rsi", "memory", "cc");
	check_equal(value, 1 + 2 + 3 + 4 + 5, "a loop changes its body");
	/* REP STOSB runs over itself and what follows: the NOPs become INC EAX pairs. */
	asm volatile("lea 1f(%%rip), %%rdi; mov $0x90, %%al; mov $4, %%ecx; xor %%edx, %%edx;"
		     "rep stosb; 1: inc %%edx; inc %%edx; mov %%edx, %0;"
		     "lea 1b(%%rip), %%rdi; movl $0xc2ffc2ff, (%%rdi)"
		     : "=a"(value)::"rcx", "rdx", "rdi", "memory", "cc");
	check_equal(value, 0, "REP STOSB over what follows it");
}

static void aliased(void)
{
	u64 *pointers = page_alloc(), *directory = page_alloc(), *table = page_alloc();
	u8 *alias = (u8 *)0x8000000000;

	((u64 *)(word)read_cr3())[1] = (word)pointers | PTE_P | PTE_W;
	pointers[0] = (word)directory | PTE_P | PTE_W;
	directory[0] = (word)table | PTE_P | PTE_W;
	table[0] = (word)code | PTE_P | PTE_W;
	emit(code, 1);
	check_equal(call(code), 1, "before");
	emit(alias, 2);
	check_equal(call(code), 2, "written through another address");
	check_equal(call(alias), 2, "executed there");
	emit(code, 3);
	check_equal(call(alias), 3, "written through the first");
	/* The same address, another page. */
	emit(code + 8192, 7);
	table[0] = (word)(code + 8192) | PTE_P;
	invlpg(alias);
	check_equal(call(alias), 7, "another page at the same address");
	table[0] = (word)code | PTE_P;
	invlpg(alias);
	check_equal(call(alias), 3, "and the first again");
}

static void atomically(void)
{
	u64 old, new;

	emit(code, 10);
	call(code);
	old = *(u64 *)code;
	new = old + (5 << 8);
	asm volatile("lock cmpxchgq %1, %0" : "+m"(*(u64 *)code) : "r"(new), "a"(old) : "memory");
	check_equal(call(code), 15, "changed by LOCK CMPXCHG");
	asm volatile("lock addl $1, %0" : "+m"(*(u32 *)(code + 1))::"memory");
	check_equal(call(code), 16, "changed by LOCK ADD");
	emit(code + 64, 99);
	asm volatile("movups (%0), %%xmm0; movups %%xmm0, (%1)" ::"r"(code + 64), "r"(code)
		     : "memory");
	check_equal(call(code), 99, "changed by an SSE store");
	/* A push writes code, too. */
	emit(code, 0);
	call(code);
	asm volatile("mov %%rsp, %%rbx; lea 8(%0), %%rsp; pushq %1; mov %%rbx, %%rsp" ::"r"(code),
		     "r"(0x90c300000077b8ull)
		     : "rbx", "memory");
	check_equal(call(code), 0x77, "changed by a push");
}

void payload(void)
{
	write_cr4(read_cr4() | CR4_OSFXSR);
	rewritten();
	itself();
	aliased();
	atomically();
}
