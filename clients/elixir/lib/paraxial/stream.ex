defmodule Paraxial.Stream do
  @moduledoc false
  # Asks paraxiald over one connection. Answers come in the order of the questions.

  use GenServer

  alias Paraxial.{HTTP, JSON}

  @most 1024
  @connect_time 1000
  @away_time 500
  @answer_time 5000
  @line 65_536
  @upgrade "GET /v1/stream HTTP/1.1\r\nHost: paraxiald\r\n" <>
             "Connection: Upgrade\r\nUpgrade: ndjson\r\n\r\n"

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc "Returns `{:ok, answer}` or `{:error, reason}`, after the timeout at the latest."
  def ask(question, timeout) do
    open = :persistent_term.get(__MODULE__, nil)

    cond do
      open == nil -> {:error, "Paraxial is not started"}
      :counters.get(open, 1) >= @most -> {:error, "#{@most} questions wait for paraxiald"}
      true -> call(open, JSON.encode(question) <> "\n", timeout)
    end
  end

  defp call(open, line, timeout) do
    :counters.add(open, 1, 1)
    GenServer.call(__MODULE__, {:ask, line}, timeout)
  catch
    :exit, _ -> {:error, "paraxiald does not answer in time"}
  end

  @impl true
  def init(opts) do
    open = :counters.new(1, [])
    :persistent_term.put(__MODULE__, open)

    {:ok,
     %{path: opts[:socket], open: open, socket: nil, waiting: :queue.new(), asked: 0, failed: nil}}
  end

  @impl true
  def handle_call({:ask, line}, from, state) do
    with {:ok, state} <- connected(state),
         :ok <- :gen_tcp.send(state.socket, line) do
      if :queue.is_empty(state.waiting), do: watch(state.asked + 1)
      {:noreply, %{state | waiting: :queue.in(from, state.waiting), asked: state.asked + 1}}
    else
      {:error, reason, state} -> {:reply, {:error, reason}, done(state, 1)}
      {:error, reason} -> {:reply, {:error, reason(reason)}, state |> done(1) |> lost()}
    end
  end

  # done notes that questions do not wait any more.
  defp done(state, n) do
    :counters.sub(state.open, 1, n)
    state
  end

  # The stream is given up if the question that waits now has no answer after a while.
  defp watch(number), do: Process.send_after(self(), {:watch, number}, @answer_time)

  defp connected(%{socket: nil} = state) do
    now = System.monotonic_time(:millisecond)

    case state.failed do
      {at, reason} when now - at < @away_time ->
        {:error, reason, state}

      _ ->
        with {:error, reason} <- open(state.path) do
          {:error, reason(reason), %{state | failed: {now, reason(reason)}}}
        else
          {:ok, socket} -> {:ok, %{state | socket: socket, failed: nil}}
        end
    end
  end

  defp connected(state), do: {:ok, state}

  defp reason(r) when is_atom(r), do: "paraxiald does not answer: #{:inet.format_error(r)}"
  defp reason(r), do: r

  defp open(path) do
    options = [:binary, active: false, packet: :line, buffer: @line, send_timeout: @connect_time]

    with {:ok, s} <- HTTP.connect(path, options ++ [send_timeout_close: true], @connect_time) do
      with :ok <- :gen_tcp.send(s, @upgrade),
           {:ok, "HTTP/1.1 101" <> _} <- :gen_tcp.recv(s, 0, @connect_time),
           :ok <- headers(s),
           :ok <- :inet.setopts(s, active: true) do
        {:ok, s}
      else
        {:ok, other} -> refused(s, other)
        {:error, reason} -> closed(s, reason)
      end
    end
  end

  defp headers(s) do
    case :gen_tcp.recv(s, 0, @connect_time) do
      {:ok, "\r\n"} -> :ok
      {:ok, _} -> headers(s)
      error -> error
    end
  end

  # The daemon answers with an error in place of a stream.
  defp refused(s, status) do
    with :ok <- headers(s),
         {:ok, line} <- :gen_tcp.recv(s, 0, @connect_time),
         {:ok, %{"error" => %{"message" => message}}} <- JSON.decode(line) do
      closed(s, message)
    else
      _ -> closed(s, "unexpected answer of paraxiald: #{String.trim(status)}")
    end
  end

  defp closed(s, reason) do
    :gen_tcp.close(s)
    {:error, reason}
  end

  @impl true
  def handle_info({:tcp, s, line}, %{socket: s} = state) do
    case :queue.out(state.waiting) do
      {{:value, from}, waiting} ->
        GenServer.reply(from, read(line))
        state = done(%{state | waiting: waiting}, 1)
        unless :queue.is_empty(waiting), do: watch(state.asked)
        {:noreply, state}

      {:empty, _} ->
        {:noreply, lost(state)}
    end
  end

  def handle_info({:watch, number}, state) do
    # The oldest question that waits has this number.
    oldest = state.asked - :queue.len(state.waiting) + 1
    late? = state.socket != nil and not :queue.is_empty(state.waiting) and oldest <= number
    {:noreply, if(late?, do: lost(state), else: state)}
  end

  def handle_info({:tcp_closed, s}, %{socket: s} = state), do: {:noreply, lost(state)}
  def handle_info({:tcp_error, s, _}, %{socket: s} = state), do: {:noreply, lost(state)}
  def handle_info(_, state), do: {:noreply, state}

  defp read(line) do
    case JSON.decode(line) do
      {:ok, %{"error" => %{"message" => message}}} -> {:error, message}
      {:ok, answer} -> {:ok, answer}
      :error -> {:error, "unexpected answer of paraxiald"}
    end
  end

  # lost ends the stream. The next question opens another one.
  defp lost(state) do
    if state.socket, do: :gen_tcp.close(state.socket)

    for from <- :queue.to_list(state.waiting),
        do: GenServer.reply(from, {:error, "the stream has ended"})

    state = done(state, :queue.len(state.waiting))
    %{state | socket: nil, waiting: :queue.new()}
  end
end
