/*
 * See virtio_gpu.h. Everything about resources belongs to the lane.
 *
 * The picture is drawn from the resource of the scanout when somebody looks, so a flush has nothing
 * to do. Not modelled: 3D contexts, blobs, more than one screen, a cursor in the picture (it is
 * taken and not shown: who looks through VNC has a pointer of his own), saving a machine with
 * resources.
 */
#include "virtio/virtio_gpu.h"

#include "base/bits.h"
#include "display/edid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE        64
#define CURSOR_QUEUE_SIZE 16
#define PCI_CLASS_DISPLAY 0x038000
#define WIDTH             1024 /* what the monitor would like */
#define HEIGHT            768
#define MAX_SCANOUTS      16 /* of the answer's layout */
#define FEATURE_EDID      BIT(1)
#define FLAG_FENCE        BIT(0)

enum gpu_queue { QUEUE_CONTROL, QUEUE_CURSOR, NR_QUEUES };

/* 5.7.6.7 */
enum gpu_type {
	GET_DISPLAY_INFO = 0x100,
	RESOURCE_CREATE_2D,
	RESOURCE_UNREF,
	SET_SCANOUT,
	RESOURCE_FLUSH,
	TRANSFER_TO_HOST_2D,
	RESOURCE_ATTACH_BACKING,
	RESOURCE_DETACH_BACKING,
	GET_EDID = 0x10a,
	UPDATE_CURSOR = 0x300,
	MOVE_CURSOR,
	OK_NODATA = 0x1100,
	OK_DISPLAY_INFO,
	OK_EDID = 0x1104,
	ERR_UNSPEC = 0x1200,
	ERR_OUT_OF_MEMORY,
	ERR_INVALID_SCANOUT_ID,
	ERR_INVALID_RESOURCE_ID,
	ERR_INVALID_CONTEXT_ID,
	ERR_INVALID_PARAMETER,
};

/* Of a pixel's four bytes in memory, which are red, green and blue. */
struct format {
	uint32_t number;
	uint8_t red, green, blue;
};

static const struct format formats[] = {
	{ 1, 2, 1, 0 },   /* B8G8R8A8 */
	{ 2, 2, 1, 0 },   /* B8G8R8X8 */
	{ 3, 1, 2, 3 },   /* A8R8G8B8 */
	{ 4, 1, 2, 3 },   /* X8R8G8B8 */
	{ 67, 0, 1, 2 },  /* R8G8B8A8 */
	{ 68, 3, 2, 1 },  /* X8B8G8R8 */
	{ 121, 3, 2, 1 }, /* A8B8G8R8 */
	{ 134, 0, 1, 2 }, /* R8G8B8X8 */
};

struct gpu_header {
	uint32_t type, flags;
	uint64_t fence;
	uint32_t context, padding;
};

struct gpu_rect {
	uint32_t x, y, width, height;
};

struct gpu_config {
	uint32_t events, events_clear, nr_scanouts, nr_capsets;
};

/* What follows the header, for all commands that are read as a whole. */
union gpu_command {
	struct {
		uint32_t resource, format, width, height;
	} create;
	struct {
		uint32_t resource, padding;
	} resource;
	struct {
		struct gpu_rect rect;
		uint32_t scanout, resource;
	} scanout;
	struct {
		struct gpu_rect rect;
		uint32_t resource, padding;
	} flush;
	struct {
		struct gpu_rect rect;
		uint64_t offset;
		uint32_t resource, padding;
	} transfer;
	struct {
		uint32_t resource, nr_entries;
	} attach;
	struct {
		uint32_t scanout, padding;
	} edid;
};

struct gpu_piece {
	uint64_t address;
	uint32_t length, padding;
};

struct gpu_resource {
	uint32_t id; /* 0: this entry is free */
	uint32_t width, height;
	const struct format *format;
	uint8_t *pixels;
	struct gpu_piece *pieces; /* of the guest's memory behind it; NULL: none */
	uint32_t nr_pieces;
};

struct gpu {
	struct virtio_device device;

	/* Machine lock. */
	struct gpu_config config;

	/* Lane. */
	struct gpu_resource resources[VIRTIO_GPU_MAX_RESOURCES];
	uint64_t nr_pixels; /* of all */
	uint32_t shown;     /* the scanout's resource; 0: none */
	struct gpu_rect rect;
};

static struct gpu_resource *find(struct gpu *gpu, uint32_t id)
{
	for (unsigned i = 0; id && i < VIRTIO_GPU_MAX_RESOURCES; i++) {
		if (gpu->resources[i].id == id)
			return &gpu->resources[i];
	}
	return NULL;
}

static const struct format *find_format(uint32_t number)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		if (formats[i].number == number)
			return &formats[i];
	}
	return NULL;
}

static void forget(struct gpu *gpu, struct gpu_resource *resource)
{
	if (gpu->shown == resource->id)
		gpu->shown = 0;
	gpu->nr_pixels -= (uint64_t)resource->width * resource->height;
	free(resource->pixels);
	free(resource->pieces);
	memset(resource, 0, sizeof(*resource));
}

static uint32_t create(struct gpu *gpu, const union gpu_command *command)
{
	const struct format *format = find_format(command->create.format);
	uint32_t width = command->create.width, height = command->create.height;
	uint64_t pixels = (uint64_t)width * height;
	struct gpu_resource *resource = gpu->resources;

	if (!command->create.resource || find(gpu, command->create.resource))
		return ERR_INVALID_RESOURCE_ID;
	if (!format || width < 1 || height < 1 || width > SURFACE_MAX_WIDTH ||
		height > SURFACE_MAX_HEIGHT)
		return ERR_INVALID_PARAMETER;
	while (resource < gpu->resources + VIRTIO_GPU_MAX_RESOURCES && resource->id)
		resource++;
	if (resource == gpu->resources + VIRTIO_GPU_MAX_RESOURCES ||
		pixels > VIRTIO_GPU_MAX_PIXELS - gpu->nr_pixels)
		return ERR_OUT_OF_MEMORY;
	resource->pixels = calloc(pixels, 4);
	if (!resource->pixels)
		return ERR_OUT_OF_MEMORY;
	resource->id = command->create.resource;
	resource->width = width;
	resource->height = height;
	resource->format = format;
	gpu->nr_pixels += pixels;
	return OK_NODATA;
}

static uint32_t unref(struct gpu *gpu, const union gpu_command *command)
{
	struct gpu_resource *resource = find(gpu, command->resource.resource);

	if (!resource)
		return ERR_INVALID_RESOURCE_ID;
	forget(gpu, resource);
	return OK_NODATA;
}

static bool is_inside(const struct gpu_rect *rect, const struct gpu_resource *resource)
{
	return rect->x <= resource->width && rect->width <= resource->width - rect->x &&
	       rect->y <= resource->height && rect->height <= resource->height - rect->y;
}

static uint32_t set_scanout(struct gpu *gpu, const union gpu_command *command)
{
	const struct gpu_resource *resource = find(gpu, command->scanout.resource);

	if (command->scanout.scanout != 0)
		return ERR_INVALID_SCANOUT_ID;
	if (command->scanout.resource == 0) {
		gpu->shown = 0;
		return OK_NODATA;
	}
	if (!resource)
		return ERR_INVALID_RESOURCE_ID;
	if (!is_inside(&command->scanout.rect, resource) || !command->scanout.rect.width ||
		!command->scanout.rect.height)
		return ERR_INVALID_PARAMETER;
	gpu->shown = resource->id;
	gpu->rect = command->scanout.rect;
	return OK_NODATA;
}

static uint32_t flush(struct gpu *gpu, const union gpu_command *command)
{
	const struct gpu_resource *resource = find(gpu, command->flush.resource);

	if (!resource)
		return ERR_INVALID_RESOURCE_ID;
	return is_inside(&command->flush.rect, resource) ? OK_NODATA : ERR_INVALID_PARAMETER;
}

/* Where in the backing one has got to. */
struct cursor {
	const struct gpu_resource *resource;
	uint32_t piece;
	uint64_t before; /* bytes of the pieces before that */
};

/* Copies from `offset` of the backing, which does not go backwards; false: it is not all RAM. */
static bool copy(
	struct gpu *gpu, struct cursor *cursor, uint64_t offset, uint8_t *to, uint64_t bytes)
{
	const struct gpu_resource *resource = cursor->resource;

	while (bytes > 0) {
		const struct gpu_piece *piece = &resource->pieces[cursor->piece];
		uint64_t at, length;

		if (cursor->piece == resource->nr_pieces)
			return false;
		if (offset - cursor->before >= piece->length) {
			cursor->before += piece->length;
			cursor->piece++;
			continue;
		}
		at = offset - cursor->before;
		length = piece->length - at < bytes ? piece->length - at : bytes;
		if (guest_memory_read(
			    &gpu->device.machine->memory, piece->address + at, to, length) < 0)
			return false;
		to += length;
		offset += length;
		bytes -= length;
	}
	return true;
}

static uint32_t transfer(struct gpu *gpu, const union gpu_command *command)
{
	struct gpu_resource *resource = find(gpu, command->transfer.resource);
	const struct gpu_rect *rect = &command->transfer.rect;
	struct cursor cursor = { .resource = resource };
	uint64_t stride;

	if (!resource)
		return ERR_INVALID_RESOURCE_ID;
	if (!is_inside(rect, resource) || command->transfer.offset > UINT32_MAX)
		return ERR_INVALID_PARAMETER;
	if (!resource->pieces)
		return ERR_UNSPEC;
	stride = (uint64_t)resource->width * 4;
	for (uint32_t y = 0; y < rect->height; y++) {
		uint8_t *to = resource->pixels + (rect->y + y) * stride + (uint64_t)rect->x * 4;

		if (!copy(gpu, &cursor, command->transfer.offset + y * stride, to,
			    (uint64_t)rect->width * 4))
			return ERR_UNSPEC;
	}
	return OK_NODATA;
}

static uint32_t detach(struct gpu *gpu, const union gpu_command *command)
{
	struct gpu_resource *resource = find(gpu, command->resource.resource);

	if (!resource)
		return ERR_INVALID_RESOURCE_ID;
	free(resource->pieces);
	resource->pieces = NULL;
	resource->nr_pieces = 0;
	return OK_NODATA;
}

/* The list follows in the request. */
static uint32_t attach(
	struct gpu *gpu, const union gpu_command *command, struct virtq_request *request)
{
	struct gpu_resource *resource = find(gpu, command->attach.resource);
	uint32_t count = command->attach.nr_entries;
	size_t bytes = count * sizeof(*resource->pieces);

	if (!resource)
		return ERR_INVALID_RESOURCE_ID;
	if (count < 1 || count > VIRTIO_GPU_MAX_PIECES || resource->pieces)
		return ERR_INVALID_PARAMETER;
	resource->pieces = malloc(bytes);
	if (!resource->pieces)
		return ERR_OUT_OF_MEMORY;
	resource->nr_pieces = count;
	if (virtq_read(request, resource->pieces, bytes) == bytes)
		return OK_NODATA;
	detach(gpu, command);
	return ERR_INVALID_PARAMETER;
}

static void respond(struct virtq_request *request, const struct gpu_header *header, uint32_t type)
{
	struct gpu_header response = { .type = type };

	if (header->flags & FLAG_FENCE) {
		response.flags = (uint32_t)FLAG_FENCE;
		response.fence = header->fence;
		response.context = header->context;
	}
	virtq_write(request, &response, sizeof(response));
}

static void tell_display(struct virtq_request *request, const struct gpu_header *header)
{
	struct {
		struct gpu_rect rect;
		uint32_t enabled, flags;
	} modes[MAX_SCANOUTS] = { { { 0, 0, WIDTH, HEIGHT }, 1, 0 } };

	respond(request, header, OK_DISPLAY_INFO);
	virtq_write(request, modes, sizeof(modes));
}

static void tell_edid(struct virtq_request *request, const struct gpu_header *header,
	const union gpu_command *command)
{
	struct {
		uint32_t size, padding;
		uint8_t edid[1024];
	} answer = { .size = EDID_SIZE };

	if (command->edid.scanout != 0) {
		respond(request, header, ERR_INVALID_SCANOUT_ID);
		return;
	}
	edid_describe(answer.edid, WIDTH, HEIGHT);
	respond(request, header, OK_EDID);
	virtq_write(request, &answer, sizeof(answer));
}

static void run(struct gpu *gpu, struct virtq_request *request)
{
	struct gpu_header header = { 0 };
	union gpu_command command;
	size_t head;
	uint32_t type;

	memset(&command, 0, sizeof(command));
	if (virtq_read(request, &header, sizeof(header)) != sizeof(header)) {
		respond(request, &header, ERR_UNSPEC);
		return;
	}
	/* The list of an attachment begins behind its two words. */
	head = header.type == RESOURCE_ATTACH_BACKING ? sizeof(command.attach) : sizeof(command);
	virtq_read(request, &command, head);
	switch (header.type) {
	case GET_DISPLAY_INFO: tell_display(request, &header); return;
	case GET_EDID: tell_edid(request, &header, &command); return;
	case RESOURCE_CREATE_2D: type = create(gpu, &command); break;
	case RESOURCE_UNREF: type = unref(gpu, &command); break;
	case SET_SCANOUT: type = set_scanout(gpu, &command); break;
	case RESOURCE_FLUSH: type = flush(gpu, &command); break;
	case TRANSFER_TO_HOST_2D: type = transfer(gpu, &command); break;
	case RESOURCE_ATTACH_BACKING: type = attach(gpu, &command, request); break;
	case RESOURCE_DETACH_BACKING: type = detach(gpu, &command); break;
	case UPDATE_CURSOR:
	case MOVE_CURSOR: type = OK_NODATA; break;
	default: type = ERR_UNSPEC; break;
	}
	respond(request, &header, type);
}

static bool gpu_serve(struct virtio_device *device, unsigned index)
{
	struct virtq *queue = virtio_queue(device, index);
	struct virtq_request *request;

	while ((request = virtq_pop(queue))) {
		run((struct gpu *)device, request);
		virtq_push(queue, request, 0);
	}
	return true;
}

static void gpu_reset(struct virtio_device *device)
{
	struct virtio_lane *lane = virtio_queue_lane(device, QUEUE_CONTROL);
	struct gpu *gpu = (struct gpu *)device;

	gpu->config.events = gpu->config.events_clear = 0;
	virtio_lane_enter(lane);
	for (unsigned i = 0; i < VIRTIO_GPU_MAX_RESOURCES; i++) {
		if (gpu->resources[i].id)
			forget(gpu, &gpu->resources[i]);
	}
	gpu->shown = 0;
	virtio_lane_leave(lane);
}

static void gpu_config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	struct gpu *gpu = (struct gpu *)device;

	(void)offset;
	(void)size;
	gpu->config.events &= ~gpu->config.events_clear;
	gpu->config.events_clear = 0;
}

static const struct virtio_device_type gpu_type = {
	.name = "virtio-gpu",
	.id = VIRTIO_ID_GPU,
	.pci_class = PCI_CLASS_DISPLAY,
	.serve = gpu_serve,
	.reset = gpu_reset,
	.config_written = gpu_config_written,
};

int virtio_gpu_create(
	struct virtio_device **device, const char *name, struct machine *machine, struct error *err)
{
	static const uint8_t writable[sizeof(struct gpu_config)] = { 0, 0, 0, 0, 0xff, 0xff, 0xff,
		0xff };
	static const struct virtio_queue_config queues[NR_QUEUES] = {
		{ .size = QUEUE_SIZE },
		{ .size = CURSOR_QUEUE_SIZE },
	};
	struct gpu *gpu = calloc(1, sizeof(*gpu));
	struct virtio_device_config config = {
		.name = name,
		.machine = machine,
		.features = FEATURE_EDID,
		.config_writable = writable,
		.config_size = sizeof(gpu->config),
		.queues = queues,
		.nr_queues = NR_QUEUES,
		.nr_lanes = 1,
	};
	int rc;

	*device = NULL;
	if (!gpu)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", name);
	gpu->config.nr_scanouts = 1;
	config.config = &gpu->config;
	rc = virtio_device_init(&gpu->device, &gpu_type, &config, err);
	if (rc < 0) {
		virtio_gpu_destroy(&gpu->device);
		return rc;
	}
	*device = &gpu->device;
	return 0;
}

void virtio_gpu_destroy(struct virtio_device *device)
{
	struct gpu *gpu = (struct gpu *)device;

	if (!device)
		return;
	virtio_device_finish(device);
	for (unsigned i = 0; i < VIRTIO_GPU_MAX_RESOURCES; i++) {
		free(gpu->resources[i].pixels);
		free(gpu->resources[i].pieces);
	}
	free(gpu);
}

/* In memory, that is: a surface's words are little-endian. */
static bool is_like_surface(const struct format *format)
{
	return format->red == 2 && format->green == 1 && format->blue == 0;
}

static const uint8_t *shown_pixels(
	const struct gpu *gpu, const struct gpu_resource *resource, uint32_t y)
{
	return resource->pixels + (((uint64_t)gpu->rect.y + y) * resource->width + gpu->rect.x) * 4;
}

static void draw_row(
	const struct gpu_resource *resource, const uint8_t *from, uint32_t *to, uint32_t width)
{
	const struct format *format = resource->format;

	for (uint32_t x = 0; x < width; x++, from += 4)
		to[x] = (uint32_t)from[format->red] << 16 | (uint32_t)from[format->green] << 8 |
			from[format->blue];
}

/* In the lane. */
static int draw(const struct gpu *gpu, const struct gpu_resource *resource, struct surface *surface)
{
	int rc = surface_resize(
		surface, resource ? gpu->rect.width : WIDTH, resource ? gpu->rect.height : HEIGHT);

	if (rc == 0 && !resource)
		surface_fill(surface, 0);
	for (uint32_t y = 0; rc == 0 && resource && y < gpu->rect.height; y++)
		draw_row(resource, shown_pixels(gpu, resource, y),
			surface->pixels + (size_t)y * surface->width, gpu->rect.width);
	return rc;
}

int virtio_gpu_draw(struct virtio_device *device, struct surface *surface)
{
	struct virtio_lane *lane = virtio_queue_lane(device, QUEUE_CONTROL);
	struct gpu *gpu = (struct gpu *)device;
	int rc;

	virtio_lane_enter(lane);
	rc = draw(gpu, find(gpu, gpu->shown), surface);
	virtio_lane_leave(lane);
	return rc;
}

int virtio_gpu_update(struct virtio_device *device, struct surface *shown, struct surface *scratch,
	surface_damaged_fn *damaged, void *context)
{
	struct virtio_lane *lane = virtio_queue_lane(device, QUEUE_CONTROL);
	struct gpu *gpu = (struct gpu *)device;
	const struct gpu_resource *resource;
	struct surface_view view;
	int rc = 0;

	virtio_lane_enter(lane);
	resource = find(gpu, gpu->shown);
	if (resource && is_like_surface(resource->format)) {
		view = (struct surface_view){ shown_pixels(gpu, resource, 0),
			(size_t)resource->width * 4, gpu->rect.width, gpu->rect.height };
	} else {
		rc = draw(gpu, resource, scratch);
		view = surface_view(scratch);
	}
	if (rc == 0)
		rc = surface_update(shown, &view, damaged, context);
	virtio_lane_leave(lane);
	return rc;
}
