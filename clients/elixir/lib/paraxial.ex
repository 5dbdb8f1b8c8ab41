defmodule Paraxial do
  @moduledoc """
  Reports events to paraxiald, asks for verdicts and bans.

  Add it to the supervision tree of the application:

      children = [{Paraxial, socket: "/run/paraxial/report.sock"}]

  The user of the application has to be a reporter in the configuration of paraxiald. An address is
  a tuple, as in `conn.remote_ip`, or text. It must be that of the client: behind a proxy, put the
  plug that finds it first.

  Everything fails open: if the daemon does not answer in time, a question has an error, and the
  functions that decide allow.

  Options:

    * `:socket` - the socket for reporters, `"/run/paraxial/report.sock"`
    * `:timeout` - how long a question waits, 50 milliseconds
    * `:queue` - the events that may wait for the daemon, 10,000
    * `:keys` - the keys that `check_rate/6` counts at the same time, 100,000
  """

  use Supervisor

  alias Paraxial.{Address, Events, HTTP, JSON, Limiter, Stream}

  @defaults [socket: "/run/paraxial/report.sock", timeout: 50, queue: 10_000, keys: 100_000]

  @doc "Starts the client. There is one for a node."
  def start_link(opts \\ []) do
    opts = Keyword.validate!(opts, @defaults)
    :persistent_term.put(__MODULE__, Map.new(opts))
    Supervisor.start_link(__MODULE__, opts, name: __MODULE__)
  end

  @impl true
  def init(opts) do
    children = [
      {Task.Supervisor, name: Paraxial.Tasks},
      {Stream, opts},
      {Events, opts},
      {Limiter, opts}
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end

  @doc """
  Counts a request for a rule of paraxiald's configuration, and returns what happens to the packets
  of its source: `{:deny, points}` if they are dropped, otherwise `{:allow, points}`. Without an
  answer it is `{:allow, 0}`. Options are the fields of an event: `:points`, `:user`, `:path`,
  `:text`.
  """
  def check_rate(rule, ip, fields \\ []) do
    case Stream.ask(%{rate: event(rule, ip, fields)}, option(:timeout)) do
      {:ok, %{"verdict" => "drop"} = v} -> {:deny, Map.get(v, "points", 0)}
      {:ok, v} -> {:allow, Map.get(v, "points", 0)}
      {:error, _} -> {:allow, 0}
    end
  end

  @doc """
  Counts a request in this application, without a rule of paraxiald: more than `count` requests of
  an address for a key in `seconds` are denied, and the address is banned for `length`, see
  `ban_ip/3`. With the length `:alert_only` they are only denied.

      Paraxial.check_rate(:login, 5, 20, :hour, conn.remote_ip, "> 20 logins in 5 seconds")
      #=> {:allow, 1}, or {:deny, 21}

  An IPv6 address counts for its /64.
  """
  def check_rate(key, seconds, count, length, ip, message) do
    with {:ok, prefix} <- Address.prefix(ip),
         {:ok, _} <- seconds(length) do
      {verdict, n, first?} = Limiter.count({key, prefix}, seconds * 1000, count)
      if first? and length != :alert_only, do: ban_later(ip, length, message)
      {verdict, n}
    else
      {:error, reason} -> raise ArgumentError, reason
    end
  end

  defp ban_later(ip, length, message) do
    Task.Supervisor.start_child(Paraxial.Tasks, fn ->
      with {:error, reason} <- ban_ip(ip, length, message),
           do: Events.tell("a ban failed", reason)
    end)
  end

  @doc """
  Bans an address, or the /64 of an IPv6 address, for `:hour`, `:day`, `:week` or a number of
  seconds. Returns `{:ok, :ban_added}` or `{:error, reason}`, for example if the budget of the
  reporter is used up.
  """
  def ban_ip(ip, length, message \\ "") do
    with {:ok, prefix} <- Address.prefix(ip),
         {:ok, seconds} <- seconds(length),
         body = JSON.encode(%{address: prefix, for: "#{seconds}s", reason: message}),
         {:ok, _} <- HTTP.post(option(:socket), "/v1/ban", body) do
      {:ok, :ban_added}
    end
  end

  defp seconds(:hour), do: {:ok, 3600}
  defp seconds(:day), do: {:ok, 86_400}
  defp seconds(:week), do: {:ok, 604_800}
  defp seconds(:alert_only), do: {:ok, 0}
  defp seconds(n) when is_integer(n) and n > 0, do: {:ok, n}

  defp seconds(other),
    do: {:error, "#{inspect(other)} is no length of a ban: want :hour, :day, :week or seconds"}

  @doc "Returns `{:ok, verdict}`, a map, about the packets of an address, or `{:error, reason}`."
  def verdict(ip) do
    with {:ok, text} <- Address.text(ip), do: Stream.ask(%{verdict: text}, option(:timeout))
  end

  @doc "Returns `{:ok, verdicts}` for up to 1,000 addresses, in their order, or `{:error, reason}`."
  def verdicts(ips) do
    with {:ok, texts} <- texts(ips),
         {:ok, %{"verdicts" => list}} <-
           HTTP.post(option(:socket), "/v1/verdicts", JSON.encode(texts)),
         do: {:ok, list}
  end

  defp texts(ips) do
    found = Enum.map(ips, &Address.text/1)

    case Enum.find(found, &match?({:error, _}, &1)) do
      nil -> {:ok, Enum.map(found, &elem(&1, 1))}
      failed -> failed
    end
  end

  @doc """
  Reports an event for a rule. It never waits: events are sent in batches. Fields are `:points`,
  `:user`, `:path`, `:text`, `:success` and `:time`, a `DateTime`.
  """
  def report(rule, ip, fields \\ []), do: Events.add(event(rule, ip, with_time(fields)))

  defp with_time(fields), do: Keyword.put_new_lazy(fields, :time, &DateTime.utc_now/0)

  @doc "Returns the number of events that were accepted, refused and dropped, and that wait."
  def stats, do: Events.stats()

  defp event(rule, ip, fields) do
    case Address.text(ip) do
      {:ok, text} -> fields |> Map.new(&field/1) |> Map.merge(%{rule: rule, address: text})
      {:error, reason} -> raise ArgumentError, reason
    end
  end

  @longest 256
  defp field({key, %DateTime{} = t}), do: {key, DateTime.to_iso8601(t)}

  defp field({key, v}) when is_binary(v),
    do: {key, binary_part(v, 0, min(byte_size(v), @longest))}

  defp field(other), do: other

  @doc false
  def option(key), do: :persistent_term.get(__MODULE__, Map.new(@defaults)) |> Map.fetch!(key)
end
