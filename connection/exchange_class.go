package connection

import (
	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
)

func (ch *Channel) exchangeDeclare(m *amqp.ExchangeDeclare) error {
	commit, err := ch.findOrMakeExchange(m)
	if err != nil {
		return err
	}
	ch.c.answer(ch.id, until(commit), unless(m.NoWait, &amqp.ExchangeDeclareOk{}))
	return nil
}

func (ch *Channel) findOrMakeExchange(m *amqp.ExchangeDeclare) (*broker.Commit, error) {
	if m.Passive {
		_, commit, err := ch.c.vhost.Exchange(m.Exchange)
		return commit, err
	}
	return ch.c.vhost.DeclareExchange(exchange.Spec{
		Name:       m.Exchange,
		Type:       m.Type,
		Durable:    m.Durable,
		AutoDelete: m.AutoDelete,
		Internal:   m.Internal,
		Arguments:  m.Arguments,
	}, ch.permit)
}

func (ch *Channel) exchangeDelete(m *amqp.ExchangeDelete) error {
	commit, err := ch.c.vhost.DeleteExchange(m.Exchange, m.IfUnused, ch.permit)
	if err != nil {
		return err
	}
	ch.c.answer(ch.id, until(commit), unless(m.NoWait, &amqp.ExchangeDeleteOk{}))
	return nil
}

func (ch *Channel) exchangeBind(m *amqp.ExchangeBind) error {
	b := exchangeBinding(m.Source, m.Destination, m.RoutingKey, m.Arguments)
	b.By = ch.c.client.user
	commit, err := ch.c.vhost.Bind(ch.c, b, ch.permit)
	if err != nil {
		return err
	}
	ch.c.answer(ch.id, until(commit), unless(m.NoWait, &amqp.ExchangeBindOk{}))
	return nil
}

func (ch *Channel) exchangeUnbind(m *amqp.ExchangeUnbind) error {
	commit, err := ch.c.vhost.Unbind(ch.c, exchangeBinding(m.Source, m.Destination, m.RoutingKey, m.Arguments), ch.permit)
	if err != nil {
		return err
	}
	ch.c.answer(ch.id, until(commit), unless(m.NoWait, &amqp.ExchangeUnbindOk{}))
	return nil
}

func exchangeBinding(source, destination, key string, arguments amqp.Table) binding.Binding {
	return binding.Binding{
		Source:      source,
		Destination: destination,
		Kind:        binding.Exchange,
		RoutingKey:  key,
		Arguments:   arguments,
	}
}
