/*
 * An EFI program that counts in a variable how often it was started (UEFI 2.9, chapters 4 and 8).
 * It says so on COM1, then resets the machine; every second time it powers off instead.
 */
#include <stddef.h>
#include <stdint.h>

#define EFIAPI __attribute__((ms_abi))

#define NOT_FOUND (UINT64_C(1) << 63 | 14)

#define NON_VOLATILE 1
#define BOOT_SERVICE 2

enum reset_type { RESET_COLD, RESET_WARM, RESET_SHUTDOWN };

struct guid {
	uint8_t bytes[16];
};

struct runtime_services {
	uint8_t header[24];
	void *time_services[4];
	void *virtual_memory_services[2];
	uint64_t(EFIAPI *get_variable)(const uint16_t *name, const struct guid *vendor,
		uint32_t *attributes, uint64_t *size, void *value);
	void *get_next_variable_name;
	uint64_t(EFIAPI *set_variable)(const uint16_t *name, const struct guid *vendor,
		uint32_t attributes, uint64_t size, const void *value);
	void *get_next_high_monotonic_count;
	void(EFIAPI *reset_system)(
		enum reset_type type, uint64_t status, uint64_t size, const void *why);
};

struct system_table {
	uint8_t header[24];
	uint16_t *vendor;
	uint32_t revision;
	void *console[6];
	struct runtime_services *runtime;
};

static void put(char character)
{
	uint8_t status;

	do
		__asm__ volatile("inb %w1, %0" : "=a"(status) : "Nd"(0x3fd));
	while (!(status & 0x20));
	__asm__ volatile("outb %0, %w1" : : "a"(character), "Nd"(0x3f8));
}

static void say(const char *text)
{
	for (; *text; text++)
		put(*text);
}

uint64_t EFIAPI efi_main(void *image, struct system_table *system);

uint64_t EFIAPI efi_main(void *image, struct system_table *system)
{
	static const struct guid vendor = { { 0x41, 0x74, 0x6f, 0x6c, 0x6c } };
	static const uint16_t name[] = { 'C', 'o', 'u', 'n', 't', 0 };
	struct runtime_services *runtime = system->runtime;
	uint64_t size = 1, status;
	uint8_t count = 0;

	(void)image;
	status = runtime->get_variable(name, &vendor, NULL, &size, &count);
	if (status == NOT_FOUND)
		say("\r\nuefi: the first start\r\n");
	else if (status) {
		say("\r\nuefi: the variable cannot be read\r\n");
	} else {
		say("\r\nuefi: started before: ");
		put((char)('0' + count % 10));
		say("\r\n");
	}
	count++;
	if (runtime->set_variable(name, &vendor, NON_VOLATILE | BOOT_SERVICE, 1, &count))
		say("uefi: the variable cannot be written\r\n");
	runtime->reset_system(count % 2 ? RESET_COLD : RESET_SHUTDOWN, 0, 0, NULL);
	for (;;)
		__asm__ volatile("hlt");
}
