/*
 * A USB disk: mass storage, bulk only transport 1.0, with the SCSI commands of a disk (SPC-4,
 * SBC-3).
 */
#ifndef USB_USB_STORAGE_H
#define USB_USB_STORAGE_H

#include "storage/drive.h"
#include "usb/usb_device.h"

#define USB_STORAGE_MAX_BLOCK 4096
/* What one packet of the controller's may need, from block to block. */
#define USB_STORAGE_BUFFER (65536 + 2 * USB_STORAGE_MAX_BLOCK)

enum usb_storage_phase {
	USB_STORAGE_COMMAND, /* a CBW is next */
	USB_STORAGE_DATA_OUT,
	USB_STORAGE_DATA_IN,
	USB_STORAGE_STATUS, /* the CSW is next */
	USB_STORAGE_BROKEN, /* until the host has reset it (6.6.1) */
};

struct usb_storage_state {
	uint32_t tag, length;    /* of the CBW: what the host will move */
	uint32_t moved, dropped; /* of it: the command's, and beyond it */
	uint8_t phase;           /* enum usb_storage_phase */
	uint8_t status;          /* of the CSW: 0 good, 1 failed, 2 phase error */
	uint8_t sense_key, asc, ascq;
	bool medium; /* the data are the medium's, not the answer's */
	bool flush;  /* synchronize before the status */
	uint8_t reserved0;
	uint64_t offset;      /* of the medium, where its data begin */
	uint32_t data_length; /* bytes that the command has */
	uint8_t reserved1[4];
	uint8_t answer[256];
};

struct usb_storage {
	struct usb_device device;
	struct usb_storage_state state;
	struct machine *machine;
	struct drive drive;
	uint32_t block; /* bytes; immutable */
	/* A piece of the command's data: where it is in them, and how much; the first `writing`
	 * bytes are on their way to the medium. */
	uint8_t buffer[USB_STORAGE_BUFFER];
	uint32_t chunk_at, chunk_bytes, writing;
	bool busy; /* the drive works */
	bool failed;
	bool draining; /* what ends now is nobody's: nothing may be begun */
	struct drive_transfer transfer;
	struct scatter scatter;
	char serial[32];
};

extern const struct device_type usb_storage_type;

/* `name` and `image` outlive it. Returns 0, or fills `err`. */
int usb_storage_create(struct usb_storage **storage, const char *name, const char *serial,
	struct machine *machine, struct block_device *image, struct error *err);
/* Not under the machine lock; off its controller. Takes NULL. */
void usb_storage_destroy(struct usb_storage *storage);

#endif
