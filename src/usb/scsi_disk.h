/*
 * The SCSI commands of a disk, for a transport that moves its data.
 */
#ifndef USB_SCSI_DISK_H
#define USB_SCSI_DISK_H

#include "usb/usb_storage.h"

/* Sense key, additional sense code and its qualifier. */
#define SCSI_READ_ERROR  0x031100
#define SCSI_WRITE_ERROR 0x030c00

#define SCSI_DISK_MAX_BYTES (UINT32_C(1) << 30) /* of one command */

/*
 * Decodes a command of 16 bytes: sets the state's status, sense, medium, offset, data_length, flush
 * and answer. `*in` is the direction of its data. False: it has none.
 */
bool scsi_disk_command(struct usb_storage *storage, const uint8_t command[16], bool *in);

/* The command has failed. */
void scsi_disk_fail(struct usb_storage_state *state, uint32_t sense);

#endif
