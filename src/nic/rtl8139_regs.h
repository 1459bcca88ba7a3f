/*
 * Registers of the Realtek RTL8139C+ (data sheet 1.6, chapters 5 and 6, and the C+ descriptors of
 * chapter 9), by their offsets in either BAR.
 */
#ifndef NIC_RTL8139_REGS_H
#define NIC_RTL8139_REGS_H

#include "base/bits.h"

#define RTL8139_SIZE 256

#define RTL8139_IDR                0x00 /* station address, 6 bytes */
#define RTL8139_MAR                0x08 /* multicast filter, 8 bytes */
#define RTL8139_TSD                0x10 /* four: status of what is sent */
#define RTL8139_TSAD               0x20 /* four: address of it */
#define RTL8139_RBSTART            0x30
#define RTL8139_CR                 0x37
#define RTL8139_CAPR               0x38
#define RTL8139_CBR                0x3a
#define RTL8139_IMR                0x3c
#define RTL8139_ISR                0x3e
#define RTL8139_TCR                0x40
#define RTL8139_RCR                0x44
#define RTL8139_TCTR               0x48
#define RTL8139_MPC                0x4c
#define RTL8139_9346CR             0x50
#define RTL8139_CONFIG0            0x51
#define RTL8139_CONFIG1            0x52
#define RTL8139_TIMER              0x54
#define RTL8139_MSR                0x58
#define RTL8139_CONFIG3            0x59
#define RTL8139_CONFIG4            0x5a
#define RTL8139_MULINT             0x5c
#define RTL8139_RERID              0x5e
#define RTL8139_TSAD_ALL           0x60
#define RTL8139_BMCR               0x62
#define RTL8139_BMSR               0x64
#define RTL8139_ANAR               0x66
#define RTL8139_ANLPAR             0x68
#define RTL8139_ANER               0x6a
#define RTL8139_CSCR               0x74
#define RTL8139_CONFIG5            0xd8
#define RTL8139_TPPOLL             0xd9
#define RTL8139_CPCR               0xe0
#define RTL8139_RDSAR              0xe4 /* receive ring, 8 bytes */
#define RTL8139_CPLUS_TX_THRESHOLD 0xec
#define RTL8139_TNPDS              0x20 /* C+: ring of normal priority, 8 bytes */
#define RTL8139_THPDS              0x28 /* ... of high priority */

#define RTL8139_CR_BUFE BIT(0)
#define RTL8139_CR_TE   BIT(2)
#define RTL8139_CR_RE   BIT(3)
#define RTL8139_CR_RST  BIT(4)

#define RTL8139_INT_ROK     BIT(0)
#define RTL8139_INT_RER     BIT(1)
#define RTL8139_INT_TOK     BIT(2)
#define RTL8139_INT_TER     BIT(3)
#define RTL8139_INT_RXOVW   BIT(4) /* C+: no descriptor */
#define RTL8139_INT_PUN     BIT(5)
#define RTL8139_INT_FOVW    BIT(6)
#define RTL8139_INT_TDU     BIT(7)
#define RTL8139_INT_SWINT   BIT(8)
#define RTL8139_INT_TIMEOUT BIT(14)
#define RTL8139_INT_SERR    BIT(15)
#define RTL8139_INT_ALL     0xe1ff

#define RTL8139_TSD_SIZE BITS(12, 0)
#define RTL8139_TSD_OWN  BIT(13)
#define RTL8139_TSD_TOK  BIT(15)

#define RTL8139_TCR_VERSION  0x74800000 /* 8139C+ */
#define RTL8139_TCR_WRITABLE 0x03061ff1
#define RTL8139_TCR_LOOPBACK BITS(18, 17)

#define RTL8139_RCR_AAP      BIT(0)
#define RTL8139_RCR_APM      BIT(1)
#define RTL8139_RCR_AM       BIT(2)
#define RTL8139_RCR_AB       BIT(3)
#define RTL8139_RCR_WRAP     BIT(7)
#define RTL8139_RCR_RBLEN    BITS(12, 11)
#define RTL8139_RCR_WRITABLE 0x0f01ffff

#define RTL8139_RX_ROK BIT(0)
#define RTL8139_RX_BAR BIT(13)
#define RTL8139_RX_PAM BIT(14)
#define RTL8139_RX_MAR BIT(15)

#define RTL8139_9346_EEDO BIT(0)
#define RTL8139_9346_EEDI BIT(1)
#define RTL8139_9346_EESK BIT(2)
#define RTL8139_9346_EECS BIT(3)
#define RTL8139_9346_MODE BITS(7, 6) /* 3: configuration may be written */

#define RTL8139_CPCR_TXENABLE BIT(0)
#define RTL8139_CPCR_RXENABLE BIT(1)
#define RTL8139_CPCR_RXCHECK  BIT(5)
#define RTL8139_CPCR_RXVLAN   BIT(6)
#define RTL8139_CPCR_WRITABLE 0x007b

/* C+ descriptors, 16 bytes: command, VLAN, address (9.2). */
#define RTL8139_DESCRIPTOR_BYTES 16
#define RTL8139_RING_MAX         64
#define RTL8139_OWN              BIT(31)
#define RTL8139_EOR              BIT(30)
#define RTL8139_FS               BIT(29)
#define RTL8139_LS               BIT(28)
#define RTL8139_LGSEN            BIT(27)
#define RTL8139_MSS              BITS(26, 16)
#define RTL8139_IPCS             BIT(18)
#define RTL8139_UDPCS            BIT(17)
#define RTL8139_TCPCS            BIT(16)
#define RTL8139_TX_TAG           BIT(17) /* of the second doubleword */
#define RTL8139_TX_BYTES         BITS(15, 0)
#define RTL8139_RX_BYTES         BITS(12, 0)
#define RTL8139_RX_TAG           BIT(16)
#define RTL8139_CRX_MAR          BIT(26)
#define RTL8139_CRX_PAM          BIT(25)
#define RTL8139_CRX_BAR          BIT(24)
#define RTL8139_CRX_PID          BITS(17, 16) /* 1: TCP, 2: UDP, 3: IP */
#define RTL8139_CRX_IPF          BIT(15)
#define RTL8139_CRX_UDPF         BIT(14)
#define RTL8139_CRX_TCPF         BIT(13)

#define RTL8139_EEPROM_WORDS 64

#endif
