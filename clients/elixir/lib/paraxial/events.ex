defmodule Paraxial.Events do
  @moduledoc false
  # Events that wait for paraxiald. They are sent in batches by a task, so that nobody waits.

  use GenServer

  require Logger

  alias Paraxial.{HTTP, JSON}

  @batch 500
  @batch_time 200
  @again 1000
  @tell_every 60_000

  # Places of the counters.
  @waiting 1
  @accepted 2
  @refused 3
  @dropped 4

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc "Adds an event. If the queue is full, it is dropped."
  def add(event) do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        :ok

      {counts, most} ->
        if :counters.get(counts, @waiting) >= most do
          :counters.add(counts, @dropped, 1)
        else
          :counters.add(counts, @waiting, 1)
          GenServer.cast(__MODULE__, {:add, JSON.encode(event)})
        end

        :ok
    end
  end

  def stats do
    {counts, _} = :persistent_term.get(__MODULE__)
    get = &:counters.get(counts, &1)

    %{
      waiting: get.(@waiting),
      accepted: get.(@accepted),
      refused: get.(@refused),
      dropped: get.(@dropped)
    }
  end

  @doc "Logs a problem, once a minute at most."
  def tell(what, reason), do: GenServer.cast(__MODULE__, {:tell, what, reason})

  @impl true
  def init(opts) do
    counts = :counters.new(4, [])
    :persistent_term.put(__MODULE__, {counts, opts[:queue]})

    {:ok,
     %{
       path: opts[:socket],
       counts: counts,
       events: :queue.new(),
       timer: nil,
       sending: nil,
       told: nil
     }}
  end

  @impl true
  def handle_cast({:add, line}, state),
    do: {:noreply, schedule(%{state | events: :queue.in(line, state.events)}, @batch_time)}

  def handle_cast({:tell, what, reason}, state), do: {:noreply, log(state, what, reason)}

  @impl true
  def handle_info(:send, %{sending: nil} = state),
    do: {:noreply, send_batch(%{state | timer: nil})}

  def handle_info(:send, state), do: {:noreply, %{state | timer: nil}}

  # The task has ended with the answer to its batch.
  def handle_info({ref, answer}, %{sending: {%{ref: ref}, batch}} = state) do
    Process.demonitor(ref, [:flush])
    {:noreply, answered(answer, batch, %{state | sending: nil})}
  end

  def handle_info({:DOWN, ref, _, _, reason}, %{sending: {%{ref: ref}, batch}} = state),
    do: {:noreply, answered({:error, inspect(reason)}, batch, %{state | sending: nil})}

  def handle_info(_, state), do: {:noreply, state}

  defp schedule(%{timer: nil, sending: nil} = state, time),
    do: %{state | timer: Process.send_after(self(), :send, time)}

  defp schedule(state, _), do: state

  defp send_batch(state) do
    {batch, rest} = :queue.split(min(@batch, :queue.len(state.events)), state.events)
    lines = batch |> :queue.to_list() |> Enum.map(&[&1, ?\n]) |> IO.iodata_to_binary()
    path = state.path

    if lines == "" do
      state
    else
      task =
        Task.Supervisor.async_nolink(Paraxial.Tasks, fn ->
          HTTP.post(path, "/v1/events", lines)
        end)

      %{state | events: rest, sending: {task, batch}}
    end
  end

  defp answered({:ok, %{"accepted" => accepted, "refused" => refused}}, batch, state) do
    :counters.sub(state.counts, @waiting, :queue.len(batch))
    :counters.add(state.counts, @accepted, accepted)
    :counters.add(state.counts, @refused, length(refused))

    state =
      case refused do
        [%{"message" => message} | _] -> log(state, "events were refused", message)
        [] -> state
      end

    if :queue.is_empty(state.events), do: state, else: schedule(state, 0)
  end

  defp answered({:error, reason}, batch, state) do
    state = log(state, "events cannot be reported and are kept", reason)
    schedule(%{state | events: :queue.join(batch, state.events)}, @again)
  end

  defp log(state, what, reason) do
    now = System.monotonic_time(:millisecond)

    if state.told == nil or now - state.told >= @tell_every do
      Logger.warning("paraxial: #{what}: #{reason}")
      %{state | told: now}
    else
      state
    end
  end
end
