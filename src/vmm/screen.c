#include "vmm/screen.h"

#include "virtio/virtio_gpu.h"

#include <errno.h>
#include <string.h>

static void take_snapshot(struct devices *devices, struct vga_snapshot *snapshot)
{
	machine_lock(devices->machine);
	vga_snapshot(&devices->vga->vga, snapshot);
	machine_unlock(devices->machine);
}

int screen_draw(struct devices *devices, struct surface *surface, struct error *err)
{
	struct vga_snapshot snapshot;
	int rc;

	if (devices->gpu) {
		rc = virtio_gpu_draw(devices->gpu, surface);
		if (rc < 0)
			return error_set_errno(err, EXIT_CODE_HOST, -rc, "cannot draw the screen");
		return 0;
	}
	if (!devices->vga)
		return error_set(err, EXIT_CODE_CONFIG,
			"this machine has no screen; give it one with --display-device vga");
	take_snapshot(devices, &snapshot);
	rc = vga_draw(&snapshot, surface);
	if (rc < 0)
		return error_set_errno(err, EXIT_CODE_HOST, -rc, "cannot draw the screen");
	return 0;
}

int screen_update(struct devices *devices, struct surface *shown, struct surface *scratch,
	surface_damaged_fn *damaged, void *context)
{
	struct vga_snapshot snapshot;
	struct surface_view view;
	int rc = 0;

	if (devices->gpu)
		return virtio_gpu_update(devices->gpu, shown, scratch, damaged, context);
	if (!devices->vga)
		return -ENODEV;
	take_snapshot(devices, &snapshot);
	if (!vga_view(&snapshot, &view)) {
		rc = vga_draw(&snapshot, scratch);
		view = surface_view(scratch);
	}
	return rc < 0 ? rc : surface_update(shown, &view, damaged, context);
}

bool screen_read_text(struct devices *devices, struct text_screen *text)
{
	struct vga_snapshot snapshot;

	if (!devices->vga)
		return false;
	take_snapshot(devices, &snapshot);
	return vga_read_text(&snapshot, text);
}

static void destroy_vga(void *object)
{
	vga_card_destroy(object);
}

/* Where a board has RAM there can be no window. */
static bool has_window(const struct machine *machine)
{
	struct ram_place place;

	return !guest_memory_find(&machine->memory, VGA_WINDOW_BASE, &place) &&
	       address_space_is_free(&machine->mmio, VGA_WINDOW_BASE, VGA_WINDOW_SIZE);
}

static int create_vga(struct devices_card *card, const char *name, const char *value,
	struct machine *machine, struct error *err)
{
	struct vga_card *vga;

	(void)value;
	if (vga_card_create(&vga, name, machine, err))
		return -1;
	if (has_window(machine))
		vga_card_map_legacy(vga);
	*card = (struct devices_card){
		.function = &vga->function, .object = vga, .destroy = destroy_vga
	};
	return 0;
}

int screen_create(struct devices *devices, struct error *err)
{
	struct board *board = devices->board;
	const char *id;

	if (devices_add_card(devices, "vga", create_vga, NULL,
		    board->type->vga_slot ? board->type->vga_slot : PCI_ANY_DEVICE, &id, err))
		return -1;
	devices->vga = devices_card_object(devices, id);
	return 0;
}
