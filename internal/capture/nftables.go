package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// nft applies rules through netlink.
type nft struct{}

func (nft) name() Backend { return NFTables }

// answerRoom is what the kernel's answers to a transaction may take until they are read, in bytes.
const answerRoom = 8 << 20

// connect returns a connection to the network namespace of this thread.
func connect() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.WithSockOptions(makeRoom))
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return conn, nil
}

// makeRoom is an option of a connection whose type belongs to a library of the library.
func makeRoom[C interface{ SetReadBuffer(bytes int) error }](c C) error {
	return c.SetReadBuffer(answerRoom)
}

// apply replaces the tables in one transaction.
func (nft) apply(_ context.Context, tables []Table) error {
	conn, err := connect()
	if err != nil {
		return err
	}
	for _, t := range tables {
		table := &nftables.Table{Family: nftFamily(t.Family), Name: tableName}
		conn.AddTable(table) // what does not exist cannot be deleted
		conn.DelTable(table)
		conn.AddTable(table)
		for _, c := range t.Chains {
			chain := conn.AddChain(nftChain(table, c))
			for _, r := range c.Rules {
				conn.AddRule(&nftables.Rule{
					Table: table, Chain: chain, Exprs: r.expressions(t.Family),
					UserData: userdata.AppendString(nil, userdata.TypeComment, r.Why),
				})
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// check compares the tables with those in the kernel.
func (nft) check(_ context.Context, tables []Table) error {
	conn, err := connect()
	if err != nil {
		return err
	}
	for _, t := range tables {
		table, err := conn.ListTableOfFamily(tableName, nftFamily(t.Family))
		if errors.Is(err, syscall.ENOENT) || err == nil && table == nil {
			return errAbsent
		}
		if err != nil {
			return fmt.Errorf("nftables: %w", err)
		}
		if table.Flags != 0 {
			return fmt.Errorf("table %s of nftables does not take effect: it has the flags %#x", tableName, table.Flags)
		}
		for _, c := range t.Chains {
			if err := checkChain(conn, nftChain(table, c), c.Rules, t.Family); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkChain compares a chain with the one in the kernel.
func checkChain(conn *nftables.Conn, want *nftables.Chain, rules []Rule, f Family) error {
	got, err := conn.ListChain(want.Table, want.Name)
	if err != nil {
		return fmt.Errorf("chain %s of nftables: %w", want.Name, err)
	}
	if got.Type != want.Type || got.Hooknum == nil || *got.Hooknum != *want.Hooknum || got.Priority == nil ||
		*got.Priority != *want.Priority || got.Policy == nil || *got.Policy != *want.Policy {
		return fmt.Errorf("chain %s of nftables is another one: its type, hook, priority or policy differs", want.Name)
	}
	known, err := conn.GetRules(want.Table, got)
	if err != nil {
		return fmt.Errorf("rules of chain %s of nftables: %w", want.Name, err)
	}
	if len(known) != len(rules) {
		return fmt.Errorf("chain %s of nftables has %d rules instead of %d", want.Name, len(known), len(rules))
	}
	for i, r := range rules {
		same, err := equal(r.expressions(f), known[i].Exprs, f)
		if err != nil {
			return fmt.Errorf("rule %d of chain %s of nftables: %w", i+1, want.Name, err)
		}
		if !same {
			return fmt.Errorf("rule %d of chain %s of nftables is not %q", i+1, want.Name, r.Why)
		}
	}
	return nil
}

// equal compares expressions by what they are on the wire.
func equal(a, b []expr.Any, f Family) (bool, error) {
	if len(a) != len(b) {
		return false, nil
	}
	for i := range a {
		one, err := expr.Marshal(byte(nftFamily(f)), a[i])
		if err != nil {
			return false, err
		}
		other, err := expr.Marshal(byte(nftFamily(f)), b[i])
		if err != nil || !bytes.Equal(one, other) {
			return false, err
		}
	}
	return true, nil
}

func nftFamily(f Family) nftables.TableFamily {
	if f == IPv6 {
		return nftables.TableFamilyIPv6
	}
	return nftables.TableFamilyIPv4
}

func nftChain(table *nftables.Table, c Chain) *nftables.Chain {
	kind, priority := c.nature()
	accept := nftables.ChainPolicyAccept
	chain := &nftables.Chain{
		Name: string(c.Hook), Table: table, Type: nftables.ChainType(kind),
		Priority: new(nftables.ChainPriority(priority)), Policy: &accept,
	}
	switch c.Hook {
	case Prerouting:
		chain.Hooknum = nftables.ChainHookPrerouting
	case Input:
		chain.Hooknum = nftables.ChainHookInput
	case Output:
		chain.Hooknum = nftables.ChainHookOutput
	}
	return chain
}

const (
	register   = 1 // that expressions hand values over in
	portOffset = 2 // of the destination, in the header of TCP
)

// offsets are the places of addresses in the header of a packet.
type offsets struct{ source, destination uint32 }

var headers = map[Family]offsets{IPv4: {source: 12, destination: 16}, IPv6: {source: 8, destination: 24}}

// expressions returns a rule in the language of the kernel, in the order of [Rule.words].
func (r Rule) expressions(f Family) []expr.Any {
	header := headers[f]
	var all []expr.Any
	if r.ToItself {
		all = append(all, meta(expr.MetaKeyOIFNAME), compare(expr.CmpOpEq, interfaceName("lo")))
	}
	if r.From.IsValid() {
		all = append(all, inNetwork(header.source, r.From, expr.CmpOpEq)...)
	}
	if r.To.IsValid() {
		all = append(all, inNetwork(header.destination, r.To, expr.CmpOpEq)...)
	}
	if r.NotTo.IsValid() {
		all = append(all, inNetwork(header.destination, r.NotTo, expr.CmpOpNeq)...)
	}
	all = append(all, meta(expr.MetaKeyL4PROTO), compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP}))
	if r.Port != 0 {
		all = append(all,
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: 2},
			compare(expr.CmpOpEq, binaryutil.BigEndian.PutUint16(r.Port)))
	}
	if r.User != 0 {
		all = append(all, meta(expr.MetaKeySKUID), compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(r.User)))
	}
	if r.NotRedirected {
		all = append(all,
			&expr.Ct{Register: register, Key: expr.CtKeySTATUS},
			mask(binaryutil.NativeEndian.PutUint32(statusRedirected)),
			compare(expr.CmpOpEq, make([]byte, 4)))
	}
	return append(all, r.verdict()...)
}

// statusRedirected is IPS_DST_NAT, a bit of the state of a connection.
const statusRedirected = 1 << 5

func (r Rule) verdict() []expr.Any {
	switch r.Verdict {
	case Redirect:
		return []expr.Any{
			&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(r.RedirectTo)},
			&expr.Redir{RegisterProtoMin: register, RegisterProtoMax: register, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
		}
	case Refuse:
		return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	default:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	}
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: register} }

func compare(op expr.CmpOp, value []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: register, Data: value}
}

// mask keeps some bits of the value.
func mask(bits []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(bits)), Mask: bits, Xor: make([]byte, len(bits))}
}

// inNetwork compares an address of the packet.
func inNetwork(offset uint32, p netip.Prefix, op expr.CmpOp) []expr.Any {
	// Only the bytes count that the network says something of.
	const byteBits = 8
	address := p.Masked().Addr().AsSlice()
	whole := p.Bits()%byteBits == 0
	if whole {
		address = address[:p.Bits()/byteBits]
	}
	all := []expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(address))}}
	if !whole {
		bits := make([]byte, len(address))
		for i := range p.Bits() {
			bits[i/byteBits] |= 0x80 >> (i % byteBits)
		}
		all = append(all, mask(bits))
	}
	return append(all, compare(op, address))
}

// interfaceName is the name as the kernel keeps it.
func interfaceName(name string) []byte {
	var kept [unix.IFNAMSIZ]byte
	copy(kept[:], name)
	return kept[:]
}
