/*
 * The VGA on the PCI bus: video memory that is RAM where its BAR is, and is the same for the
 * window, the DISPI and the picture.
 */
#include "pci/pci_fixture.h"
#include "vga/vga_card.h"

#define SLOT        2
#define FRAMEBUFFER UINT64_C(0xd0000000)

struct fixture {
	struct pci_fixture pci;
	struct vga_card *card;
	/* What was announced to the engine last. */
	gpa_t written;
	uint64_t size;
	unsigned count;
};

static void note_write(void *context, gpa_t address, uint64_t size)
{
	struct fixture *f = context;

	f->written = address;
	f->size = size;
	f->count++;
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_init(&f->pci);
	assert_int_equal(vga_card_create(&f->card, "vga0", &f->pci.machine, NULL), 0);
	vga_card_map_legacy(f->card);
	assert_int_equal(pci_plug(f->pci.host, &f->card->function, SLOT, false, NULL), 0);
	f->pci.machine.memory.written = note_write;
	f->pci.machine.memory.written_context = f;
	config_set(&f->pci, SLOT, PCI_BAR0, 4, FRAMEBUFFER);
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	machine_lock(&f->pci.machine);
	pci_unplug(&f->card->function);
	machine_unlock(&f->pci.machine);
	vga_card_destroy(f->card);
	fixture_finish(&f->pci);
	free(f);
	return 0;
}

static void set_dispi(struct fixture *f, uint16_t index, uint16_t value)
{
	machine_pio_write(&f->pci.machine, VGA_PORT_DISPI_INDEX, 2, index);
	machine_pio_write(&f->pci.machine, VGA_PORT_DISPI_INDEX + 1, 2, value);
}

/* 16 by 4 pixels of 32 bits. */
static void set_mode(struct fixture *f)
{
	set_dispi(f, VGA_DISPI_ENABLE, 0);
	set_dispi(f, VGA_DISPI_XRES, 16);
	set_dispi(f, VGA_DISPI_YRES, 4);
	set_dispi(f, VGA_DISPI_BPP, 32);
	set_dispi(f, VGA_DISPI_ENABLE, VGA_DISPI_ENABLE_ENABLED | VGA_DISPI_ENABLE_LINEAR);
}

static uint32_t *framebuffer(struct fixture *f)
{
	return guest_memory_host(&f->pci.machine.memory, FRAMEBUFFER, VGA_CARD_MEMORY_SIZE);
}

static void test_video_memory_is_ram(void **context)
{
	struct fixture *f = *context;
	struct vga_snapshot snapshot;
	struct surface surface = { 0 };

	assert_non_null(framebuffer(f));
	set_mode(f);
	framebuffer(f)[17] = 0x123456;
	vga_snapshot(&f->card->vga, &snapshot);
	assert_int_equal(vga_draw(&snapshot, &surface), 0);
	assert_int_equal(surface.width, 16);
	assert_int_equal(surface.pixels[17], 0x123456);
	surface_finish(&surface);
}

static void ignore(void *context, const struct surface_rect *rect)
{
	(void)context;
	(void)rect;
}

/* With 32 bits a pixel it is in video memory as it is drawn, and otherwise it is not. */
static void test_picture_in_memory(void **context)
{
	struct fixture *f = *context;
	struct surface drawn = { 0 }, seen = { 0 };
	struct vga_snapshot snapshot;
	struct surface_view view;

	vga_snapshot(&f->card->vga, &snapshot);
	assert_false(vga_view(&snapshot, &view)); /* text */
	set_mode(f);
	set_dispi(f, VGA_DISPI_VIRTUAL_WIDTH, 20);
	set_dispi(f, VGA_DISPI_X_OFFSET, 3);
	set_dispi(f, VGA_DISPI_Y_OFFSET, 2);
	for (unsigned i = 0; i < 20 * 8; i++)
		framebuffer(f)[i] = 0xff000000 | i * 0x010203;
	vga_snapshot(&f->card->vga, &snapshot);
	assert_int_equal(vga_draw(&snapshot, &drawn), 0);
	assert_true(vga_view(&snapshot, &view));
	assert_int_equal(surface_update(&seen, &view, ignore, NULL), 1);
	assert_int_equal(seen.pixels[0], (2 * 20 + 3) * 0x010203);
	assert_true(surface_hash(&seen) == surface_hash(&drawn));
	/* What is beyond video memory is drawn black. */
	snapshot.memory_size = (5 * 20 + 3 + 16) * 4;
	assert_true(vga_view(&snapshot, &view));
	snapshot.memory_size--;
	assert_false(vga_view(&snapshot, &view));
	snapshot.memory_size = VGA_CARD_MEMORY_SIZE;
	snapshot.state.dispi[VGA_DISPI_BPP] = 24;
	assert_false(vga_view(&snapshot, &view));
	surface_finish(&drawn);
	surface_finish(&seen);
}

static void test_it_goes_with_its_bar(void **context)
{
	struct fixture *f = *context;

	config_set(&f->pci, SLOT, PCI_COMMAND, 2, 0);
	assert_null(guest_memory_host(&f->pci.machine.memory, FRAMEBUFFER, 1));
	config_set(&f->pci, SLOT, PCI_BAR0, 4, 0xd8000000);
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_non_null(guest_memory_host(&f->pci.machine.memory, 0xd8000000, 1));
}

/* As an engine does that has decoded code there. */
static void watch(struct fixture *f)
{
	struct guest_memory *memory = &f->pci.machine.memory;
	struct ram_place place;

	assert_true(guest_memory_find(memory, FRAMEBUFFER, &place));
	atomic_store(&memory->regions[place.region - memory->regions].watched, true);
}

static void test_changes_beside_it_are_announced(void **context)
{
	struct fixture *f = *context;

	/* Nobody watches. */
	f->count = 0;
	set_mode(f);
	assert_int_equal(f->count, 0);
	watch(f);
	set_mode(f);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->written, FRAMEBUFFER);
	assert_int_equal(f->size, 16 * 4 * 4);

	machine_pio_write(&f->pci.machine, 0x3c2, 1, VGA_MISC_RAM_ENABLE | VGA_MISC_COLOUR);
	set_dispi(f, VGA_DISPI_BANK, 2);
	machine_mmio_write(&f->pci.machine, VGA_WINDOW_BASE + 5, 1, 0x77);
	assert_int_equal(f->written, FRAMEBUFFER + 0x20005);
	assert_int_equal(((uint8_t *)framebuffer(f))[0x20005], 0x77);

	/* A planar address is a doubleword of the planes. */
	set_dispi(f, VGA_DISPI_ENABLE, 0);
	machine_mmio_write(&f->pci.machine, VGA_WINDOW_BASE + 8, 1, 0x77);
	assert_int_equal(f->written, FRAMEBUFFER + 0x20);
	assert_int_equal(f->size, 4);
	/* Nobody can have code there. */
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, 0);
	f->count = 0;
	machine_mmio_write(&f->pci.machine, VGA_WINDOW_BASE + 8, 1, 0x77);
	assert_int_equal(f->count, 0);
}

#define vga_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		vga_test(test_video_memory_is_ram),
		vga_test(test_picture_in_memory),
		vga_test(test_it_goes_with_its_bar),
		vga_test(test_changes_beside_it_are_announced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
