defmodule Paraxial.Limiter do
  @moduledoc false
  # Counts requests by key in a window that slides: each request counts for as long as the window.

  use GenServer

  @sweep 10_000

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc """
  Counts a request. Returns the verdict, the number of requests in the window, and whether it is
  the first one above the limit in it.
  """
  def count(key, window, limit) do
    GenServer.call(__MODULE__, {:count, key, window, limit, System.monotonic_time(:millisecond)})
  catch
    :exit, _ -> {:allow, 0, false}
  end

  @impl true
  def init(opts) do
    Process.send_after(self(), :sweep, @sweep)
    {:ok, %{most: opts[:keys], keys: %{}}}
  end

  @impl true
  def handle_call({:count, key, window, limit, now}, _from, state) do
    case Map.get(state.keys, key) do
      nil when map_size(state.keys) >= state.most -> {:reply, {:allow, 0, false}, state}
      found -> count(key, window, limit, now, found || {[], nil, 0}, state)
    end
  end

  # Of a key: the times of its requests, the latest first, when it was denied last, and when
  # nothing of it counts any more. There are no more times than the limit.
  defp count(key, window, limit, now, {times, denied, _}, state) do
    times = [now | Enum.take_while(times, &(&1 > now - window))]
    n = length(times)
    deny? = n > limit
    first? = deny? and (denied == nil or denied <= now - window)
    kept = {Enum.take(times, limit), if(deny?, do: now, else: denied), now + window}
    verdict = if deny?, do: :deny, else: :allow
    {:reply, {verdict, n, first?}, put_in(state.keys[key], kept)}
  end

  @impl true
  def handle_info(:sweep, state) do
    Process.send_after(self(), :sweep, @sweep)
    now = System.monotonic_time(:millisecond)
    {:noreply, %{state | keys: :maps.filter(fn _, {_, _, ends} -> ends > now end, state.keys)}}
  end
end
