package testapp

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Sniffed is what went over the wire to and from one TCP port.
type Sniffed struct {
	Packets int            `json:"packets"` // with a payload
	TLS     int            `json:"tls"`     // of those, how many begin with a TLS record
	Texts   map[string]int `json:"texts"`   // in how many packets each text was seen
}

// Sniffer looks at the packets of all interfaces of its network. It needs CAP_NET_RAW. Linux only.
type Sniffer struct {
	Port  uint16
	Texts []string
}

// Run counts until ctx ends, and writes a [Sniffed]. Before, it writes a line "ready".
func (s Sniffer) Run(ctx context.Context, out io.Writer) error {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return fmt.Errorf("bound reads: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<20) // as much as the system allows
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	sum, buffer := Sniffed{Texts: map[string]int{}}, make([]byte, 1<<16)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("read packets: %w", err)
		default:
			s.count(&sum, buffer[:n])
		}
	}
	return json.NewEncoder(out).Encode(sum)
}

func (s Sniffer) count(sum *Sniffed, packet []byte) {
	payload, ok := s.payload(packet)
	if !ok {
		return
	}
	sum.Packets++
	if len(payload) > 2 && payload[0] >= 20 && payload[0] <= 23 && payload[1] == 3 {
		sum.TLS++
	}
	for _, text := range s.Texts {
		if bytes.Contains(payload, []byte(text)) {
			sum.Texts[text]++
		}
	}
}

// payload returns what an IPv4 packet of the port carries over TCP, if anything.
func (s Sniffer) payload(packet []byte) ([]byte, bool) {
	const minIP, minTCP, tcp = 20, 20, 6
	if len(packet) < minIP || packet[0]>>4 != 4 || packet[9] != tcp {
		return nil, false
	}
	head, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	if total > len(packet) || head < minIP || total < head+minTCP {
		return nil, false
	}
	segment := packet[head:total]
	if binary.BigEndian.Uint16(segment) != s.Port && binary.BigEndian.Uint16(segment[2:]) != s.Port {
		return nil, false
	}
	data := int(segment[12]>>4) * 4
	if data < minTCP || len(segment) <= data {
		return nil, false
	}
	return segment[data:], true
}
