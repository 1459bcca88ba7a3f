/*
 * Numbers of virtio-net (virtio 1.2, 5.1).
 */
#ifndef VIRTIO_VIRTIO_NET_REGS_H
#define VIRTIO_VIRTIO_NET_REGS_H

#include "base/bits.h"

/* Feature bits (5.1.3). */
#define NET_F_CSUM                BIT(0)
#define NET_F_GUEST_CSUM          BIT(1)
#define NET_F_CTRL_GUEST_OFFLOADS BIT(2)
#define NET_F_MTU                 BIT(3)
#define NET_F_MAC                 BIT(5)
#define NET_F_GUEST_TSO4          BIT(7)
#define NET_F_GUEST_TSO6          BIT(8)
#define NET_F_GUEST_ECN           BIT(9)
#define NET_F_HOST_TSO4           BIT(11)
#define NET_F_HOST_TSO6           BIT(12)
#define NET_F_HOST_ECN            BIT(13)
#define NET_F_MRG_RXBUF           BIT(15)
#define NET_F_STATUS              BIT(16)
#define NET_F_CTRL_VQ             BIT(17)
#define NET_F_CTRL_RX             BIT(18)
#define NET_F_CTRL_VLAN           BIT(19)
#define NET_F_CTRL_RX_EXTRA       BIT(20)
#define NET_F_GUEST_ANNOUNCE      BIT(21)
#define NET_F_MQ                  BIT(22)
#define NET_F_CTRL_MAC_ADDR       BIT(23)
#define NET_F_HOST_USO            BIT(56)

/* Legacy only: the driver may send GSO of any kind (5.1.3.2). */
#define NET_F_GSO BIT(6)

/* Status (5.1.4). */
#define NET_S_LINK_UP  BIT(0)
#define NET_S_ANNOUNCE BIT(1)

struct virtio_net_registers {
	uint8_t address[6];
	uint16_t status;
	uint16_t max_pairs;
	uint16_t mtu;
} __attribute__((packed));

/* The control queue (5.1.6.5). */
#define NET_CTRL_OK  0
#define NET_CTRL_ERR 1

#define NET_CTRL_RX          0
#define NET_CTRL_RX_PROMISC  0
#define NET_CTRL_RX_ALLMULTI 1
#define NET_CTRL_RX_ALLUNI   2
#define NET_CTRL_RX_NOMULTI  3
#define NET_CTRL_RX_NOUNI    4
#define NET_CTRL_RX_NOBCAST  5
#define NET_CTRL_RX_MODES    6

#define NET_CTRL_MAC           1
#define NET_CTRL_MAC_TABLE_SET 0
#define NET_CTRL_MAC_ADDR_SET  1

#define NET_CTRL_VLAN     2
#define NET_CTRL_VLAN_ADD 0
#define NET_CTRL_VLAN_DEL 1
#define NET_VLANS         4096

#define NET_CTRL_ANNOUNCE     3
#define NET_CTRL_ANNOUNCE_ACK 0

#define NET_CTRL_MQ           4
#define NET_CTRL_MQ_PAIRS_SET 0

#define NET_CTRL_GUEST_OFFLOADS     5
#define NET_CTRL_GUEST_OFFLOADS_SET 0

#endif
