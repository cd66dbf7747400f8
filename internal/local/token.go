package local

import (
	"context"
	"errors"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	// tokenLife is for how long an agent can use a join token, which it does at once.
	tokenLife = 2 * time.Minute
	// tokenPatience is how long the control plane is waited for when it does not answer, before the agent is told so. It
	// is less than agents wait.
	tokenPatience = 5 * time.Second
	tokenRetry    = 100 * time.Millisecond
)

// giveTokens gives the agent a join token whenever it asks for one, until ctx ends or the agent is gone.
func (p *proxy) giveTokens(ctx context.Context, _ *process.Process) error {
	return agent.GiveTokens(ctx, p.tokens, p.token)
}

// token returns a fresh join token for the instance. It waits a moment for a control plane that is just starting.
func (p *proxy) token(ctx context.Context) (string, error) {
	i, w := p.instance, p.instance.Workload
	wanted := api.NewToken{
		Workload: i.Name, Namespace: w.Namespace, Account: w.Account, Address: i.Address.String(), TTL: mesh.Duration(tokenLife),
	}
	ctx, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	tick := time.NewTicker(tokenRetry)
	defer tick.Stop()
	for {
		token, err := p.site.api.NewToken(ctx, wanted)
		if err == nil {
			p.refused = ""
			return token.Token, nil
		}
		if refusal, ok := errors.AsType[*api.Error](err); ok {
			p.refuse(refusal)
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-tick.C:
		}
	}
}

// refuse tells once why the control plane gives no token.
func (p *proxy) refuse(refusal *api.Error) {
	message := p.instance.Name + " gets no identity: " + refusal.Message
	if message != p.refused {
		p.site.console.fail(message, refusal.Hint)
	}
	p.refused = message
}
