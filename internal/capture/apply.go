package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// errAbsent is the error that the kernel has no rules of ours.
var errAbsent = errors.New("traffic is not captured: the kernel has no rules for that")

// failure is an error with the next step.
type failure struct {
	error
	hint string
}

func (f *failure) Unwrap() error { return f.error }

// Hint returns the next step.
func (f *failure) Hint() string { return f.hint }

// backend gives rules to the kernel, those of the network namespace that the calling thread is in.
type backend interface {
	name() Backend
	apply(context.Context, []Table) error
	check(context.Context, []Table) error // errAbsent: there are none
}

// Apply makes the rules for a configuration those of the network namespace that the calling thread is in, in the place of those
// that Apply made before, and looks whether the kernel has them. What was used is logged.
func Apply(ctx context.Context, c Config, log *slog.Logger) error {
	tables, err := c.prepare()
	if err != nil {
		return err
	}
	if err := giveSources(tables); err != nil {
		return err
	}
	var failures []error
	backends := c.backends()
	for i, b := range backends {
		err := b.apply(ctx, tables)
		if err == nil {
			if err := b.check(ctx, tables); err != nil {
				return fmt.Errorf("the rules were taken by the kernel, but it has others: %w", err)
			}
			log.Info("traffic is captured", "backend", string(b.name()), "proxy_uid", c.ProxyUID, "outbound", c.Outbound, "inbound", c.Inbound,
				"families", familiesOf(tables), "networks", c.networks(), "kept", (*portsValue)(&c.Keep).String())
			return nil
		}
		failures = append(failures, err)
		if i < len(backends)-1 {
			log.Warn("traffic not captured this way, another one is tried", "backend", string(b.name()), "err", err)
		}
	}
	return &failure{errors.Join(failures...), hintFor(failures)}
}

// Check looks whether the rules in the network namespace that the calling thread is in are those for a configuration.
func Check(ctx context.Context, c Config, log *slog.Logger) error {
	tables, err := c.prepare()
	if err != nil {
		return err
	}
	var failures []error
	for _, b := range c.backends() {
		err := b.check(ctx, tables)
		if err == nil {
			err = checkSources(tables)
		}
		if err == nil {
			log.Info("traffic is captured", "backend", string(b.name()))
			return nil
		}
		if !errors.Is(err, errAbsent) {
			failures = append(failures, err)
		}
	}
	if len(failures) == 0 {
		return &failure{errAbsent, "`capture` without --check sets them"}
	}
	return &failure{errors.Join(failures...), "`capture` with the same flags, without --check, sets them anew"}
}

// prepare completes a configuration and returns its rules, unless this process could not give them to the kernel.
func (c *Config) prepare() ([]Table, error) {
	c.complete()
	if len(c.Families) == 0 && !hasIPv6() {
		c.Families = []Family{IPv4}
	}
	tables, err := c.Tables()
	if err != nil {
		return nil, err
	}
	if has, err := capable(unix.CAP_NET_ADMIN); err != nil || !has {
		return nil, &failure{errors.Join(errors.New("the capability NET_ADMIN is missing"), err), capabilityHint}
	}
	return tables, nil
}

// backends are those to try, the best one first.
func (c *Config) backends() []backend {
	switch c.Backend {
	case NFTables:
		return []backend{nft{}}
	case IPTables:
		return findIPTables()
	default:
		return append([]backend{nft{}}, findIPTables()...)
	}
}

const capabilityHint = "run it as root with the capabilities NET_ADMIN and NET_RAW, in the network namespace of the workload"

// hintFor returns the next step for who could not have rules.
func hintFor(failures []error) string {
	if errors.Is(errors.Join(failures...), unix.EPERM) {
		return capabilityHint
	}
	if has, err := capable(unix.CAP_NET_RAW); err == nil && !has {
		return "iptables wants the capability NET_RAW too; " + capabilityHint
	}
	return "the kernel of the node needs nf_tables with nat, redir, reject and ct, or iptables with its owner, conntrack, REDIRECT and REJECT"
}

// capable tells whether this thread has a capability.
func capable(capability int) (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, err
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0, nil
}

// networks says to which networks traffic is captured.
func (c *Config) networks() string {
	text := "all"
	if len(c.Include) > 0 {
		text = (*rangesValue)(&c.Include).String()
	}
	if len(c.Exclude) > 0 {
		text += " but " + (*rangesValue)(&c.Exclude).String()
	}
	return text
}
