/*
 * Registers of virtio over PCI (virtio 1.2, 4.1), and where this device puts them.
 */
#ifndef VIRTIO_VIRTIO_PCI_REGS_H
#define VIRTIO_VIRTIO_PCI_REGS_H

#include <stdint.h>

#define VIRTIO_PCI_VENDOR        0x1af4
#define VIRTIO_PCI_MODERN_DEVICE 0x1040 /* plus the device type (4.1.2) */

/* cfg_type of a capability (4.1.4). */
#define VIRTIO_PCI_CAP_COMMON 1
#define VIRTIO_PCI_CAP_NOTIFY 2
#define VIRTIO_PCI_CAP_ISR    3
#define VIRTIO_PCI_CAP_DEVICE 4
#define VIRTIO_PCI_CAP_PCI    5

struct virtio_pci_cap {
	uint8_t id, next;
	uint8_t length;
	uint8_t type;
	uint8_t bar;
	uint8_t cap_id;
	uint8_t padding[2];
	uint32_t offset; /* in the BAR */
	uint32_t size;
	uint32_t extra; /* NOTIFY: notify_off_multiplier; PCI: pci_cfg_data */
};
#define VIRTIO_PCI_CAP_SIZE       16 /* without `extra` */
#define VIRTIO_PCI_CAP_EXTRA_SIZE 20

/* 4.1.4.3 */
struct virtio_pci_common {
	uint32_t device_feature_select, device_feature;
	uint32_t driver_feature_select, driver_feature;
	uint16_t config_vector, num_queues;
	uint8_t device_status, config_generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	uint64_t queue_desc, queue_driver, queue_device;
	uint16_t queue_notify_data, queue_reset;
	uint32_t end;
};
#define VIRTIO_PCI_COMMON_SIZE offsetof(struct virtio_pci_common, end)

#define VIRTIO_ISR_QUEUE  1u
#define VIRTIO_ISR_CONFIG 2u

/* The legacy interface's I/O BAR (4.1.4.10). */
#define VIRTIO_LEGACY_DEVICE_FEATURES 0
#define VIRTIO_LEGACY_DRIVER_FEATURES 4
#define VIRTIO_LEGACY_QUEUE_ADDRESS   8
#define VIRTIO_LEGACY_QUEUE_SIZE      12
#define VIRTIO_LEGACY_QUEUE_SELECT    14
#define VIRTIO_LEGACY_QUEUE_NOTIFY    16
#define VIRTIO_LEGACY_STATUS          18
#define VIRTIO_LEGACY_ISR             19
#define VIRTIO_LEGACY_CONFIG_VECTOR   20 /* only while MSI-X is enabled; */
#define VIRTIO_LEGACY_QUEUE_VECTOR    22 /* configuration space follows */
#define VIRTIO_LEGACY_PAGE_SHIFT      12

/* This device's layout. */
#define VIRTIO_PCI_LEGACY_BAR 0
#define VIRTIO_PCI_MSIX_BAR   1
#define VIRTIO_PCI_BAR        4

#define VIRTIO_PCI_BAR_SIZE      0x4000
#define VIRTIO_PCI_COMMON_OFFSET 0x0000
#define VIRTIO_PCI_ISR_OFFSET    0x1000
#define VIRTIO_PCI_DEVICE_OFFSET 0x2000
#define VIRTIO_PCI_NOTIFY_OFFSET 0x3000
#define VIRTIO_PCI_NOTIFY_STRIDE 4

#define VIRTIO_PCI_MSIX_SIZE 0x1000
#define VIRTIO_PCI_PBA       0x800

#endif
